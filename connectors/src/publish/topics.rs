//! The topics themselves: created where missing, checked where they exist.
//!
//! Enters: the `[kafka]` section. Leaves: nothing. Guarantees: when [`ensure_topics`] has returned, every topic of the
//! contract exists, is compacted where only the last value of a key counts, and stamps records with the broker's time
//! where the dataflow's clock reads it.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use schemas::{KafkaSettings, Topic};

use crate::Error;

/// The settings that a topic must have, by Kafka's own names.
fn wanted(topic: Topic) -> Vec<(&'static str, &'static str)> {
    let stamped = matches!(topic, Topic::Reports | Topic::Registry | Topic::Events | Topic::Rejects);
    vec![
        ("cleanup.policy", if topic.compacted() { "compact" } else { "delete" }),
        ("message.timestamp.type", if stamped { "LogAppendTime" } else { "CreateTime" }),
    ]
}

/// Creates the topics that are missing and checks those that exist.
///
/// # Errors
/// [`Error::Topics`] with every setting that differs and the command that corrects it; [`Error::Kafka`] when the
/// brokers do not answer within 10 s or forbid it.
pub async fn ensure_topics(kafka: &KafkaSettings) -> Result<(), Error> {
    let mut config = ClientConfig::new();
    for (name, value) in kafka.client_properties() {
        config.set(name, value);
    }
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source: KafkaError| Error::Kafka { action, source }
    };
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(failed("create the admin client"))?;
    let existing = create(kafka, &admin).await?;
    if existing.is_empty() {
        return Ok(());
    }
    let mut differences = Vec::new();
    // A topic that was created a moment ago may not show its settings yet.
    for _ in 0..10 {
        differences = check(kafka, &admin, &existing).await?;
        if differences.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(Error::Topics(differences))
}

/// Compares the settings of topics with what they must be.
async fn check(
    kafka: &KafkaSettings,
    admin: &AdminClient<DefaultClientContext>,
    existing: &[Topic],
) -> Result<Vec<String>, Error> {
    let names: Vec<String> = existing.iter().map(|topic| kafka.topic(*topic)).collect();
    let specifiers: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = admin
        .describe_configs(&specifiers, &options())
        .await
        .map_err(|source| Error::Kafka { action: "describe the topics".to_owned(), source })?;
    let mut differences = Vec::new();
    for ((topic, name), resource) in existing.iter().zip(&names).zip(described) {
        match resource {
            Ok(resource) => differences.extend(compare(*topic, name, &resource)),
            Err(code) => differences.push(format!("topic {name} cannot be described: {code}")),
        }
    }
    Ok(differences)
}

/// Creates every topic; returns those that were there before.
async fn create(
    kafka: &KafkaSettings,
    admin: &AdminClient<DefaultClientContext>,
) -> Result<Vec<Topic>, Error> {
    let names: Vec<String> = Topic::ALL.iter().map(|topic| kafka.topic(*topic)).collect();
    let new: Vec<NewTopic<'_>> = Topic::ALL
        .iter()
        .zip(&names)
        .map(|(topic, name)| {
            let new = NewTopic::new(name, kafka.partitions, TopicReplication::Fixed(kafka.replication));
            let new = if kafka.replication >= 3 { new.set("min.insync.replicas", "2") } else { new };
            wanted(*topic).into_iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let created = admin
        .create_topics(&new, &options())
        .await
        .map_err(|source| Error::Kafka { action: "create the topics".to_owned(), source })?;
    let mut existing = Vec::new();
    for (topic, outcome) in Topic::ALL.iter().zip(created) {
        match outcome {
            Ok(name) => tracing::info!(topic = name, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => existing.push(*topic),
            Err((name, code)) => {
                return Err(Error::Kafka {
                    action: format!("create topic {name}"),
                    source: KafkaError::AdminOp(code),
                });
            }
        }
    }
    Ok(existing)
}

fn compare(topic: Topic, name: &str, resource: &ConfigResource) -> Vec<String> {
    let differs = |(key, wanted): (&'static str, &'static str)| {
        let found = resource.get(key).and_then(|entry| entry.value.as_deref()).unwrap_or("unset");
        (found != wanted).then(|| {
            format!(
                "topic {name} has {key}={found}, {wanted} is needed: \
                 kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={wanted}"
            )
        })
    };
    wanted(topic).into_iter().filter_map(differs).collect()
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(Duration::from_secs(10)))
        .operation_timeout(Some(Duration::from_secs(10)))
}
