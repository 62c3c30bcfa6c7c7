//! What every connector owes: a section of the configuration that can be checked, served and asked how it reads payloads.

use std::{future::Future, pin::Pin};

use axum::Router;
use bytes::Bytes;
use schemas::Millis;

use crate::{
    Error,
    intake::Intake,
    payload::{Arrival, Batch},
};

/// A connector, as its section of the configuration says.
pub trait Connect: Send + Sync {
    /// One of [`crate::NAMES`].
    fn name(&self) -> &'static str;

    /// Checks what can be checked without a network; one line per problem, naming the key.
    fn problems(&self) -> Vec<String>;

    /// How long before its arrival a record may have been measured, ms: `rules.backfill_days`.
    fn set_backfill(&mut self, backfill: Millis);

    /// Serves until it is to stop, then finishes what was begun. What it takes in goes to Kafka through `intake`, and is
    /// acknowledged only after its `Ok`.
    fn serve(&self, intake: Intake, terms: Terms) -> Serving;

    /// How rejects of this connector are read again.
    ///
    /// # Errors
    /// [`Error::Setting`].
    fn reread(&self) -> Result<Reread, Error>;
}

/// A connector at work.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Reads a payload once more: from the place behind the name in its origin, such as a topic.
pub type Reread = Box<dyn Fn(&str, &Bytes, Arrival) -> Batch + Send + Sync>;

/// Says what holds up the rest of the process, if anything does.
pub type Held = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What a connector is served by.
pub struct Terms {
    /// Ends when it is to stop.
    pub stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Says what holds up the rest of the process.
    pub held: Held,
    /// Further routes, for a connector that serves HTTP.
    pub routes: Router,
}
