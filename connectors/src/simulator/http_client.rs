//! Reports to `POST /api/v1/reports`, as NDJSON.

use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use schemas::Report;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::wire_form;
use crate::Error;

/// Reports of one request, and requests under way at once.
const BATCH: usize = 1_000;
const UNDER_WAY: usize = 6;
/// How often a request is sent before the run gives up.
const ATTEMPTS: u32 = 60;

/// Sends reports over HTTP.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client,
    url: String,
}

#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    #[serde(default)]
    rejected: Vec<serde_json::Value>,
}

/// What the platform answered, over all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}

impl HttpClient {
    pub(super) fn new(base: &str) -> Result<Self, Error> {
        let url = format!("{}/api/v1/reports", base.trim_end_matches('/'));
        let client = Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| failed(&url, &error.to_string()))?;
        Ok(HttpClient { client, url })
    }

    /// Sends reports and returns once every one is answered.
    pub(super) async fn send(&self, reports: &[Report]) -> Result<Answers, Error> {
        let mut under_way = JoinSet::new();
        let mut sum = Answers::default();
        for batch in reports.chunks(BATCH) {
            while under_way.len() >= UNDER_WAY {
                sum.add(under_way.join_next().await, &self.url)?;
            }
            let mut body = String::with_capacity(batch.len() * 500);
            for report in batch {
                wire_form::native(report, &mut body);
                body.push('\n');
            }
            let way = self.clone();
            under_way.spawn(async move { way.post(body).await });
        }
        while !under_way.is_empty() {
            sum.add(under_way.join_next().await, &self.url)?;
        }
        Ok(sum)
    }

    /// Sends one body until it is answered.
    async fn post(&self, body: String) -> Result<Answers, Error> {
        let mut pause = Duration::from_millis(50);
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let request = self.client.post(&self.url).header(header::CONTENT_TYPE, "application/x-ndjson");
            match request.body(body.clone()).send().await {
                Ok(response) if response.status().is_success() => {
                    let answer =
                        response.bytes().await.map_err(|error| failed(&self.url, &error.to_string()))?;
                    let answer: Answer = serde_json::from_slice(&answer)
                        .map_err(|error| failed(&self.url, &error.to_string()))?;
                    return Ok(Answers { accepted: answer.accepted, rejected: answer.rejected.len() as u64 });
                }
                Ok(response) => {
                    let status = response.status();
                    let wait = response
                        .headers()
                        .get(header::RETRY_AFTER)
                        .and_then(|value| value.to_str().ok()?.parse().ok())
                        .map(Duration::from_secs);
                    last = format!("{status}: {}", response.text().await.unwrap_or_default());
                    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                        break;
                    }
                    pause = wait.unwrap_or(pause);
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        Err(failed(&self.url, &last))
    }
}

impl Answers {
    fn add(
        &mut self,
        joined: Option<Result<Result<Answers, Error>, tokio::task::JoinError>>,
        url: &str,
    ) -> Result<(), Error> {
        match joined {
            Some(Ok(answers)) => {
                let answers = answers?;
                self.accepted += answers.accepted;
                self.rejected += answers.rejected;
                Ok(())
            }
            Some(Err(error)) => Err(failed(url, &error.to_string())),
            None => Ok(()),
        }
    }
}

fn failed(url: &str, detail: &str) -> Error {
    Error::Io { object: format!("POST {url}"), source: std::io::Error::other(detail.to_owned()) }
}
