//! `lockgate wrap`: a bare capture as GWLB would have delivered it. No logic of its own.

use super::output::{Inputs, Output};
use super::reading::warn;
use super::say::{complain, tell};
use crate::io::pcap::{CaptureReader, CaptureWriter, CapturedPacket, Format};
use crate::model::EndpointId;
use crate::observe::plural;
use crate::synth::wrap::Wrapper;
use crate::wire::Link;
use clap::Args;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;
use std::slice;

/// Wrap a bare capture as GWLB would have delivered it.
#[derive(Args, Debug)]
pub(super) struct WrapArgs {
    /// The capture to read
    input: String,
    /// The capture to write; pcapng where the name says so, else pcap
    output: String,
    /// The GWLB endpoint the traffic comes from, `vpce-0` and 16 hex digits
    #[arg(long)]
    endpoint: EndpointId,
}

/// Wraps; 0 is done, 1 a capture that could not be read or written.
#[must_use]
pub(super) fn run(args: &WrapArgs) -> ExitCode {
    match wrap(args) {
        Ok((wrapped, left_out)) => {
            let wrapped = plural(wrapped, "packet");
            tell(&format_args!("{wrapped} wrapped, {left_out} left out that are no IP"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn wrap(args: &WrapArgs) -> Result<(u64, u64), String> {
    let mut reader = CaptureReader::open(&args.input).map_err(|error| error.to_string())?;
    let inputs = Inputs::default().captures(slice::from_ref(&args.input));
    let file = Output::new(Path::new(&args.output), &inputs)?.create()?;
    let place = |error: &dyn std::fmt::Display| format!("{}: {error}", args.output);
    let format = Format::for_name(&args.output);
    let mut writer = CaptureWriter::new(BufWriter::new(file), format);
    let wrapper = Wrapper::new(args.endpoint);
    let (mut wrapped, mut left_out) = (0, 0);
    let ended = loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            // What came before it is written.
            Err(error) => break Err(error.to_string()),
        };
        let Some(frame) = wrapper.wrap(packet.bytes, packet.link) else {
            left_out += 1;
            continue;
        };
        let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let packet =
            CapturedPacket { at: packet.at, link: Link::Ethernet, bytes: &frame, original_len };
        writer.write(&packet).map_err(|error| place(&error))?;
        wrapped += 1;
    };
    writer.finish().map_err(|error| place(&error))?;
    warn(&reader.warnings());
    ended.map(|()| (wrapped, left_out))
}
