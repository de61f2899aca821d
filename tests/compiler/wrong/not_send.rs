use stream_sqsd::event::message::MessageNew;
use stream_sqsd::prelude::*;

async fn welcome(_event: MessageNew, _ctx: Context) -> Result<(), HandlerError> {
    let names = std::rc::Rc::new("Ann");
    std::future::ready(()).await;
    println!("{names}");
    Ok(())
}

fn main() {
    let _ = Router::new().on(welcome);
}
