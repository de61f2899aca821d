//! A handler of one's own: greets in channels, and tries it out on the queue in memory.
//!
//! `cargo run --example handler`. For a real queue put `SqsQueue::connect(..)` in the place of `MemoryQueue`.

use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

async fn greet(event: MessageNew, ctx: Context) -> Result<(), HandlerError> {
    let message = event.message.ok_or_else(|| HandlerError::reject("a message.new without its message"))?;
    let text = message.text.unwrap_or_default();
    let channel = event.cid.unwrap_or_default();
    println!("{} in {channel}: {} characters", ctx.message_id(), text.chars().count());
    Ok(())
}

async fn ignore(event: Event, _ctx: Context) -> Result<(), HandlerError> {
    println!("something else: {}", event.kind());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = MemoryQueue::new(Default::default());
    queue.send(r#"{"type":"message.new","cid":"messaging:garden","message":{"id":"1","text":"Hello!"}}"#);
    queue.send(r#"{"type":"reaction.new","cid":"messaging:garden"}"#);
    let router = Router::new().on(greet).fallback(ignore);
    let settings = Settings::new().with_until_empty(true).with_wait(std::time::Duration::from_secs(1));
    println!("{}", Consumer::new(queue, router, settings).run(std::future::pending()).await?);
    Ok(())
}
