//! Any compressed data: where flate2 inflates it, a gzip of it is the same body whichever way it is inflated.
//!
//! The way is chosen by the header: a plain one is inflated at once, one with a file name piece by piece. The few codes that
//! only one of the two knows do not come up, since flate2 refuses them.
#![no_main]

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use libfuzzer_sys::fuzz_target;
use stream_sqsd::decode::decode;

const LIMIT: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let mut inflated = Vec::new();
    let mut decoder = DeflateDecoder::new(data).take(2 * LIMIT as u64);
    if decoder.read_to_end(&mut inflated).is_err() || decoder.limit() == 0 {
        return;
    }
    let behind = decoder.into_inner().into_inner();
    let data = &data[..data.len() - behind.len()];
    let mut checksum = Crc::new();
    checksum.update(&inflated);
    let verdict = |header: &[u8]| {
        let end = [checksum.sum().to_le_bytes(), checksum.amount().to_le_bytes()].concat();
        decode(&STANDARD.encode([header, data, &end].concat()), LIMIT)
    };
    assert_eq!(verdict(b"\x1f\x8b\x08\0\0\0\0\0\0\xff"), verdict(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff\0"));
});
