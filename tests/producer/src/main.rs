//! A backend that only enqueues one event, in the Redis that its environment names.

use std::{env, error::Error};

use chrono::Utc;
use lynkhook::{
    config::Settings,
    producer::{NewEvent, Producer},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::load(None, env::vars_os())?;
    let producer = Producer::connect(&settings).await?;
    let event = NewEvent::new("transcript.created", Utc::now(), &serde_json::json!({ "messageId": "m1" }))?;
    let enqueued = producer.enqueue(&"acme".parse()?, &event).await?;
    println!("{}", enqueued.stream_id);
    Ok(())
}
