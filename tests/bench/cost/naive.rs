//! The naive floor: decoding and parsing as one writes it on a first afternoon, and nothing around it.
//!
//! The base64 of the crate's own engine; gzip by miniz_oxide, which is what flate2 takes when nobody chooses; then
//! `serde_json::from_slice` into structs with serde's derive. The structs have the fields of this project's tables,
//! since they are made from them; what the tables do not know is dropped.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use serde::Deserialize;

use crate::Outcome;

/// A body to a struct.
pub(crate) fn parse(body: &str) -> Outcome<MessageNew> {
    if body.starts_with('{') {
        return Ok(serde_json::from_slice(body.as_bytes())?);
    }
    let packed = STANDARD.decode(body)?;
    let mut json = Vec::new();
    Gunzip::new(&packed)?.read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Parses the bodies in a circle until the time is over. Returns how often.
pub(crate) fn floor(bodies: &[String], time: Duration) -> Outcome<u64> {
    let end = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < end {
        for body in bodies {
            std::hint::black_box(parse(std::hint::black_box(body))?);
            count += 1;
        }
    }
    Ok(count)
}

/// `flate2::bufread::GzDecoder` on miniz_oxide, call by call. Taken from flate2 itself it would be zlib-rs, since a build
/// has one flate2 and this project chooses that for it.
struct Gunzip<'a> {
    input: &'a [u8],
    state: Box<InflateState>,
    checksum: crc32fast::Hasher,
    length: u32,
}

impl<'a> Gunzip<'a> {
    /// After a head without any of the optional parts, which is what Stream's gzip has.
    fn new(packed: &'a [u8]) -> Outcome<Self> {
        let input = packed.strip_prefix(&[0x1f, 0x8b, 8, 0]).and_then(|rest| rest.get(6..)).ok_or("no plain gzip")?;
        let state = InflateState::new_boxed(DataFormat::Raw);
        Ok(Gunzip { input, state, checksum: crc32fast::Hasher::new(), length: 0 })
    }
}

impl Read for Gunzip<'_> {
    fn read(&mut self, output: &mut [u8]) -> std::io::Result<usize> {
        let result = inflate(&mut self.state, self.input, output, MZFlush::None);
        self.input.consume(result.bytes_consumed);
        let inflated = &output[..result.bytes_written];
        self.checksum.update(inflated);
        self.length = self.length.wrapping_add(inflated.len() as u32);
        match result.status {
            Ok(MZStatus::StreamEnd) if inflated.is_empty() => {
                let end = self.checksum.clone().finalize().to_le_bytes().into_iter().chain(self.length.to_le_bytes());
                if end.eq(self.input.iter().copied()) { Ok(0) } else { Err(std::io::ErrorKind::InvalidData.into()) }
            }
            Ok(_) | Err(MZError::Buf) => Ok(inflated.len()),
            Err(_) => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The row of the catalogue, with the fields that all events have.
#[derive(Deserialize)]
#[allow(dead_code, reason = "they are parsed and dropped")]
pub(crate) struct MessageNew {
    r#type: Option<String>,
    channel_id: Option<String>,
    channel_type: Option<String>,
    cid: Option<String>,
    message_id: Option<String>,
    parent_author: Option<String>,
    team: Option<String>,
    channel_member_count: Option<i64>,
    channel_message_count: Option<i64>,
    total_unread_count: Option<i64>,
    unread_channels: Option<i64>,
    unread_count: Option<i64>,
    watcher_count: Option<i64>,
    channel_last_message_at: Option<Timestamp>,
    message: Option<Box<objects::MessageResponse>>,
    channel: Option<Box<objects::ChannelResponse>>,
    user: Option<Box<objects::UserResponseCommonFields>>,
    thread_participants: Option<List<objects::UserResponseCommonFields>>,
    members: Option<List<IdOr<objects::ChannelMemberResponse>>>,
    grouped_unread_channels: Option<Map<i64>>,
    channel_custom: Option<Extra>,
    created_at: Option<Timestamp>,
    received_at: Option<Timestamp>,
    custom: Option<Extra>,
    request_info: Option<Box<objects::RequestInfo>>,
}

type List<T> = Vec<T>;
type Map<T> = HashMap<String, T>;
type Extra = serde_json::Map<String, serde_json::Value>;
/// This project keeps the text too, and reads it when it is asked for the time.
type Timestamp = String;

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "they are parsed and dropped")]
enum IdOr<T> {
    Id(String),
    Object(T),
}

/// The tables of the project, read by another macro of the same name.
#[allow(dead_code, unused_imports, unreachable_pub, reason = "they are parsed and dropped, and not all are reached")]
#[path = "../../../src/event/object"]
mod objects {
    use serde_json::Number;

    use super::{Extra, IdOr, List, Map, Timestamp};

    macro_rules! objects {
        ($(
            $(#[$attribute:meta])*
            $name:ident { $( $($field:ident $(= $wire:literal)?),+ : $type:ty; )* }
        )*) => {$(
            #[derive(serde::Deserialize)]
            pub struct $name {
                $($( $(#[serde(rename = $wire)])? $field: Option<$type>, )+)*
            }
        )*};
    }

    mod chat;
    mod feeds;
    mod moderation;
    mod user;
    mod video;

    pub use chat::*;
    pub use feeds::*;
    pub use moderation::*;
    pub use user::*;
    pub use video::*;
}
