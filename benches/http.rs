//! The host of a request: a first head, the next one of the same connection, httparse on the same
//! bytes, and the first request of an HTTP/2 connection.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lockgate::inspect::http::HttpReader;
use lockgate::inspect::http2::{Http2Reader, PREFACE};
use lockgate::model::{Direction, Facts};
use std::hint::black_box;

const CURL: &[u8] = b"GET /v1/payments/42 HTTP/1.1\r\nHost: api.payments.example\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /index.html?x=1 HTTP/1.1\r\nHost: www.payments.example\r\n\
    Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\nAccept: text/html,application/xml;q=0.9,\
    image/avif,image/webp,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

fn http1(criterion: &mut Criterion) {
    for (name, head) in [("curl", CURL), ("browser", BROWSER)] {
        let mut group = criterion.benchmark_group(format!("http/{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function("first", |bencher| {
            bencher.iter(|| {
                let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
                black_box(reader.read(Direction::Original, black_box(head), &mut facts));
                facts
            });
        });
        let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
        group.bench_function("next", |bencher| {
            bencher.iter(|| reader.read(Direction::Original, black_box(head), &mut facts));
        });
        group.bench_function("httparse", |bencher| {
            bencher.iter(|| {
                let mut headers = [httparse::EMPTY_HEADER; 32];
                let mut request = httparse::Request::new(&mut headers);
                let complete = request.parse(black_box(head));
                let is_host = |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case("host");
                let host = request.headers.iter().find(is_host).map(|h| h.value.len());
                (complete, host)
            });
        });
        group.finish();
    }
}

fn http2(criterion: &mut Criterion) {
    let settings = [&PREFACE[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let block = b"\x82\x86\x84\x41\x0fwww.example.com\x53\x03*/*";
    let first = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1], &block[..]].concat();
    criterion.bench_function("http2/first", |bencher| {
        bencher.iter(|| {
            let (mut reader, mut facts) = (Http2Reader::new(), Facts::default());
            reader.read(Direction::Original, black_box(&settings), &mut facts);
            black_box(reader.read(Direction::Original, black_box(&first), &mut facts));
            facts
        });
    });
}

criterion_group!(benches, http1, http2);
criterion_main!(benches);
