use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

struct Pool;

async fn welcome(_event: MessageNew, _ctx: Context, _pool: Pool) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {
    let _ = Router::new().on(welcome);
}
