use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

enum ShopError {
    Closed,
}

async fn welcome(_event: MessageNew, _ctx: Context) -> Result<(), ShopError> {
    Err(ShopError::Closed)
}

fn main() {
    let _ = Router::new().on(welcome);
}
