//! A question to its name, by itself and in its message, and an answer to what it binds, beside
//! simple-dns over the same bytes.

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate::inspect::Inspector;
use lockgate::inspect::dns::HEADER_BYTES;
use lockgate::inspect::dns::lone::lone_question;
use lockgate::inspect::dns::name::read_name;
use lockgate::model::{Direction, DomainName, Facts};
use std::hint::black_box;

const QUERY: &[u8] =
    b"\xbe\xef\x01\x00\0\x01\0\0\0\0\0\0\x03api\x08payments\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\xbe\xef\x81\x80\0\x01\0\x01\0\0\0\0\x03api\x08payments\x07example\0\0\x01\
    \0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xac\x10\x01\x01";

fn dns(c: &mut Criterion) {
    let mut name = DomainName::empty();
    c.bench_function("dns/name", |b| {
        b.iter(|| {
            let behind = read_name(black_box(QUERY), HEADER_BYTES, &mut name);
            black_box(&name);
            behind
        });
    });
    c.bench_function("dns/lone-question", |b| {
        b.iter(|| {
            let lone = lone_question(black_box(QUERY), &mut name);
            black_box(&name);
            lone
        });
    });
    c.bench_function("dns/question", |b| {
        b.iter(|| {
            let mut facts = Facts::default();
            let mut inspector = Inspector::datagrams();
            black_box(inspector.datagram(Direction::Original, black_box(QUERY), &mut facts));
            facts
        });
    });
    let mut inspector = Inspector::datagrams();
    let mut facts = Facts::default();
    inspector.datagram(Direction::Original, QUERY, &mut facts);
    c.bench_function("dns/answer", |b| {
        b.iter(|| inspector.datagram(Direction::Reply, black_box(ANSWER), &mut facts));
    });
    c.bench_function("simple-dns/question", |b| {
        b.iter(|| simple_dns::Packet::parse(black_box(QUERY)).map(|packet| packet.questions.len()));
    });
}

criterion_group!(benches, dns);
criterion_main!(benches);
