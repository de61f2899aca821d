use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

async fn welcome(_event: MessageNew) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {
    let _ = Router::new().on(welcome);
}
