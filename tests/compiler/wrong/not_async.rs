use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

fn welcome(_event: MessageNew, _ctx: Context) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {
    let _ = Router::new().on(welcome);
}
