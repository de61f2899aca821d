//! What users build by `new` and `with_*`: each method sets the field of its name.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use stream_sqsd::consumer::{RetryDelay, Settings, Unrouted};
use stream_sqsd::queue::memory::{Faults, MemorySettings};
use stream_sqsd::queue::{Delivery, EntryError, QueueFacts, Receipt, Trace};

const TIME: Duration = Duration::from_secs(7);

/// The field and its value as Debug renders them differ from the default's in that field alone.
fn only(field: &str, default: &impl Debug, set: &impl Debug) {
    let lines = |value: &dyn Debug| -> Vec<String> {
        let text = format!("{value:#?}");
        // The fields of the struct itself: what lies deeper belongs to the field above it.
        let mut fields: Vec<String> = Vec::new();
        for line in text.lines().skip(1) {
            match line.strip_prefix("    ") {
                Some(rest) if !rest.starts_with([' ', '}', ')', ']']) => fields.push(rest.to_owned()),
                Some(rest) => fields.last_mut().unwrap().push_str(rest.trim()),
                None => {}
            }
        }
        fields
    };
    let (before, after) = (lines(default), lines(set));
    assert_eq!(before.len(), after.len());
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
    let changed: Vec<&str> = changed.map(|(_, after)| after.split(':').next().unwrap()).collect();
    assert_eq!(changed, [field]);
}

/// For each field: the struct with it, as its method makes it.
macro_rules! each_sets_its_own {
    ($new:expr, $($field:ident, $with:ident($value:expr);)*) => {
        $(only(stringify!($field), &$new, &$new.$with($value));)*
    };
}

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

#[test]
fn every_setting_of_the_engine_has_a_method_of_its_name() {
    each_sets_its_own! { Settings::new(),
        concurrency, with_concurrency(7);
        max_in_flight_bytes, with_max_in_flight_bytes(7);
        wait, with_wait(TIME);
        visibility, with_visibility(TIME);
        handler_timeout, with_handler_timeout(TIME);
        grace, with_grace(TIME);
        inflate_limit, with_inflate_limit(7);
        unrouted, with_unrouted(Unrouted::Leave);
        until_empty, with_until_empty(true);
        retry, with_retry(RetryDelay::new(TIME, TIME));
        fifo_attempts, with_fifo_attempts(7);
        journal, with_journal(std::path::PathBuf::from("journal"));
        random_seed, with_random_seed(7);
        wall_clock, with_wall_clock(noon);
        time_suspended, with_time_suspended(|| TIME);
    }
}

#[test]
fn every_part_of_a_queue_in_memory_has_a_method_of_its_name() {
    each_sets_its_own! { MemorySettings::new(),
        visibility_timeout, with_visibility_timeout(TIME);
        max_receive_count, with_max_receive_count(7);
        fifo, with_fifo(true);
        retention, with_retention(TIME);
        wall_clock, with_wall_clock(noon);
        faults, with_faults(Faults::new().with_hang(1.0));
        seed, with_seed(7);
    }
    each_sets_its_own! { Faults::new(),
        duplicate, with_duplicate(1.0);
        receive_error, with_receive_error(1.0);
        receive_answer_lost, with_receive_answer_lost(1.0);
        call_error, with_call_error(1.0);
        call_answer_lost, with_call_answer_lost(1.0);
        entry_error, with_entry_error(1.0);
        attributes_error, with_attributes_error(1.0);
        overtake, with_overtake(1.0);
        hang, with_hang(1.0);
        latency, with_latency(TIME);
    }
}

#[test]
fn what_a_queue_of_ones_own_answers_is_built_by_name() {
    each_sets_its_own! { QueueFacts::new(),
        name, with_name("events");
        fifo, with_fifo(true);
        visibility_timeout, with_visibility_timeout(TIME);
        max_message_size, with_max_message_size(7);
        max_receive_count, with_max_receive_count(7);
        dead_letter_queue, with_dead_letter_queue("events-dlq");
        retention, with_retention(TIME);
        visible, with_visible(7);
        hidden, with_hidden(7);
    }
    each_sets_its_own! { Delivery::new(Receipt::new("id", "handle"), "{}"),
        receive_count, with_receive_count(7);
        sent_at, with_sent_at(noon());
        group, with_group(std::sync::Arc::from("g"));
        trace, with_trace(Trace::new().with_traceparent("t"));
        webhook_id, with_webhook_id(stream_sqsd::queue::WebhookId::new("w-1"));
    }
    each_sets_its_own! { Trace::new(),
        traceparent, with_traceparent("t");
        aws_trace_header, with_aws_trace_header("t");
    }
    each_sets_its_own! { EntryError::new("code", "message"), sender_fault, with_sender_fault(true); }
}

#[cfg(all(feature = "file", feature = "http", feature = "exec", feature = "postgres"))]
#[test]
fn every_setting_of_a_handler_has_a_method_of_its_name() {
    use stream_sqsd::handlers::{
        exec::ExecSettings,
        file::FileSettings,
        http::{Authorization, HttpSettings, OAuth2Settings, ServerErrors, TlsFiles},
        postgres::PostgresSettings,
    };

    each_sets_its_own! { FileSettings::new("events"),
        rotate_size, with_rotate_size(7);
        rotate_age, with_rotate_age(TIME);
        max_files, with_max_files(7);
    }
    each_sets_its_own! { ExecSettings::new(["true"]), env, with_env(["LANG"]); }
    each_sets_its_own! { HttpSettings::new("https://example.com/"),
        api_key, with_api_key("key");
        api_secret, with_api_secret("secret");
        headers, with_headers([("X-A", "b")]);
        authorization, with_authorization(Authorization::Bearer("secret".into()));
        tls, with_tls(TlsFiles::new().with_ca("/ca.pem"));
        server_errors, with_server_errors(ServerErrors::Retry);
        timeout, with_timeout(TIME);
        connections, with_connections(7);
        redirects, with_redirects(true);
    }
    each_sets_its_own! { OAuth2Settings::new("https://id.example.com/", "id", "secret"),
        scope, with_scope("s");
        audience, with_audience("a");
    }
    each_sets_its_own! { TlsFiles::new(), ca, with_ca("/ca.pem"); }
    each_sets_its_own! { PostgresSettings::new("postgres://localhost/db"),
        table, with_table("t");
        connections, with_connections(7);
        timeout, with_timeout(TIME);
    }
    // Neither is in what Debug renders.
    let with_password = PostgresSettings::new("postgres://localhost/db").with_password("secret");
    assert_eq!(with_password.password.as_deref(), Some("secret"));
}
