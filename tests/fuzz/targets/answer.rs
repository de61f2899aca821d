//! Any bytes as what SQS answers: where both this project and the AWS SDK read them, they read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stream_sqsd::queue::sqs::compare_with_sdk;

fuzz_target!(|answer: &[u8]| compare_with_sdk(answer));
