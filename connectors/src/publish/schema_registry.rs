//! The schema registry: numbers for our schemas, and the schemas that others wrote with.
//!
//! Enters: the `[kafka]` section. Leaves: a [`Codec`]. Guarantees: every topic's current schema is registered under
//! `{topic}-value` before anything is written with it; every version found there can be read.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, RequestBuilder, Url};
use schemas::{
    KafkaSettings, Topic,
    avro::{Codec, schema_json},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::Error;

/// The media type that Confluent's, Apicurio's and Karapace's registries agree on.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Version {
    id: u32,
    schema: String,
}

/// How values are written: with the numbers of the configured schema registry, else single-object encoding.
///
/// # Errors
/// [`Error::SchemaRegistry`] when it cannot be reached within 10 s per request, or refuses a schema as incompatible.
pub async fn codec(kafka: &KafkaSettings) -> Result<Codec, Error> {
    let Some(address) = &kafka.schema_registry else {
        return Ok(Codec::single_object());
    };
    let registry = Registry::new(address)?;
    let mut numbers = BTreeMap::new();
    let mut writers = BTreeMap::new();
    for topic in Topic::ALL {
        let subject = format!("{}-value", kafka.topic(*topic));
        numbers.insert(*topic, registry.register(&subject, schema_json(*topic)).await?);
        for version in registry.versions(&subject).await? {
            writers.insert(version.id, (*topic, version.schema));
        }
    }
    Ok(Codec::confluent(numbers, writers)?)
}

struct Registry {
    client: Client,
    base: Url,
}

impl Registry {
    fn new(address: &str) -> Result<Registry, Error> {
        let setting = |detail: String| Error::Setting { name: "kafka.schema_registry".to_owned(), detail };
        let mut base: Url = address.parse().map_err(|error| setting(format!("{error}, expected a URL")))?;
        if base.cannot_be_a_base() {
            return Err(setting("expected a URL such as http://registry:8081".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = Client::builder().timeout(Duration::from_secs(10)).build();
        Ok(Registry { client: client.map_err(|error| setting(error.to_string()))?, base })
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<u32, Error> {
        let request = self
            .client
            .post(self.url(&["subjects", subject, "versions"])?)
            .json(&serde_json::json!({ "schema": schema }))
            .header("content-type", MEDIA_TYPE);
        let registered: Registered = self.answer(request, &format!("register {subject}")).await?;
        Ok(registered.id)
    }

    async fn versions(&self, subject: &str) -> Result<Vec<Version>, Error> {
        let list = self.client.get(self.url(&["subjects", subject, "versions"])?);
        let numbers: Vec<u32> = self.answer(list, &format!("versions of {subject}")).await?;
        let mut versions = Vec::with_capacity(numbers.len());
        for number in numbers {
            let one = self.client.get(self.url(&["subjects", subject, "versions", &number.to_string()])?);
            versions.push(self.answer(one, &format!("version {number} of {subject}")).await?);
        }
        Ok(versions)
    }

    fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| self.wrong("is no base URL".to_owned()))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder, what: &str) -> Result<T, Error> {
        let failed = |error: reqwest::Error| self.wrong(format!("{what}: {}", error.without_url()));
        let response = request.header("accept", MEDIA_TYPE).send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&body).chars().take(500).collect();
            return Err(self.wrong(format!("{what}: answered {status}: {text}")));
        }
        serde_json::from_slice(&body)
            .map_err(|error| self.wrong(format!("{what}: answer is not readable: {error}")))
    }

    /// The error, with the address but without its user and password.
    fn wrong(&self, detail: String) -> Error {
        let mut shown = self.base.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        Error::SchemaRegistry { url: shown.to_string(), detail }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{
        Json, Router,
        extract::{Path, State},
        http::StatusCode,
        routing::{get, post},
    };
    use schemas::{Event, Millis};
    use serde_json::{Value, json};

    use super::*;

    /// Subjects in order of registration; the number of a schema is its place, from 1.
    type Stored = Arc<Mutex<Vec<(String, String)>>>;

    async fn registry(stored: Stored) -> String {
        let register = async |State(stored): State<Stored>,
                              Path(subject): Path<String>,
                              Json(body): Json<Value>| {
            let schema = body["schema"].as_str().unwrap().to_owned();
            let mut stored = stored.lock().unwrap();
            if subject.starts_with("closed") {
                return (StatusCode::CONFLICT, Json(json!({"error_code": 409, "message": "incompatible"})));
            }
            let at = stored.iter().position(|s| *s == (subject.clone(), schema.clone()));
            let at = at.unwrap_or_else(|| {
                stored.push((subject, schema));
                stored.len() - 1
            });
            (StatusCode::OK, Json(json!({"id": at + 1})))
        };
        let versions = async |State(stored): State<Stored>, Path(subject): Path<String>| {
            let of = stored.lock().unwrap().iter().filter(|s| s.0 == subject).count();
            Json((1..=of).collect::<Vec<_>>())
        };
        let version = async |State(stored): State<Stored>, Path((subject, number)): Path<(String, usize)>| {
            let stored = stored.lock().unwrap();
            let (at, (_, schema)) =
                stored.iter().enumerate().filter(|(_, s)| s.0 == subject).nth(number - 1).unwrap();
            Json(json!({"id": at + 1, "schema": schema, "version": number}))
        };
        let router = Router::new()
            .route("/sr/subjects/{subject}/versions", post(register).merge(get(versions)))
            .route("/sr/subjects/{subject}/versions/{number}", get(version))
            .with_state(stored);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://user:secret@{address}/sr")
    }

    fn settings(prefix: &str, registry: String) -> KafkaSettings {
        KafkaSettings {
            brokers: String::new(),
            prefix: prefix.to_owned(),
            partitions: 1,
            replication: 1,
            schema_registry: Some(registry),
            properties: BTreeMap::new(),
        }
    }

    fn event() -> Event {
        Event {
            id: "1".to_owned(),
            kind: "complaint".to_owned(),
            facility: "ST-1".into(),
            at: 1_705_305_600_000 as Millis,
            received_at: 1_705_305_600_000,
            origin: "http:127.0.0.1".to_owned(),
            fields: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn registers_every_schema_and_writes_with_its_number() {
        let stored = Stored::default();
        let older = r#"{"type":"record","name":"Event","fields":[{"name":"id","type":"string"}]}"#;
        stored.lock().unwrap().push(("heating.events-value".to_owned(), older.to_owned()));
        let settings = settings("heating", registry(Arc::clone(&stored)).await);
        let codec = codec(&settings).await.unwrap();
        assert_eq!(stored.lock().unwrap().len(), 1 + Topic::ALL.len());
        let at = stored.lock().unwrap().iter().rposition(|s| s.0 == "heating.events-value").unwrap();
        let bytes = codec.encode(&event()).unwrap();
        assert_eq!(bytes[..5], [0, 0, 0, 0, at as u8 + 1]);
        assert_eq!(codec.decode::<Event>(&bytes).unwrap(), event());
    }

    #[tokio::test]
    async fn a_refused_schema_is_named_and_the_password_is_not() {
        let settings = settings("closed", registry(Stored::default()).await);
        let error = codec(&settings).await.unwrap_err().to_string();
        assert!(error.contains("register closed.reports-value: answered 409"), "{error}");
        assert!(error.contains("incompatible") && !error.contains("secret"), "{error}");
    }
}
