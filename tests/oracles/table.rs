//! What two databases hold, compared row by row.

use std::time::Duration;

use schemas::Epoch;
use sinks::table::STORED;

use crate::Site;

/// Every table that the dataflow writes, without the dimensions of the registry, which hold what its topic holds.
pub fn tables() -> impl Iterator<Item = &'static str> {
    STORED.concat().into_iter().filter(|table| !table.starts_with("registry_"))
}

/// Asserts that two sites hold the same rows in every table, epochs included; gives how many.
pub async fn assert_same(one: &Site, other: &Site) -> u64 {
    assert_same_until(one, other, u64::MAX).await
}

/// Runs another pipeline, undisturbed, over everything that a stopped one has bound, and asserts that the rows are the
/// same; gives how many.
pub async fn assert_as_undisturbed(site: &Site, config: &str, accepted: u64) -> u64 {
    let undisturbed = site.beside("undisturbed", config);
    undisturbed.nuanliu(&["migrate"]);
    let last = site.give_bindings(&undisturbed);
    let mut process = undisturbed.start(&["run"]);
    undisturbed.stored(accepted, &mut process, Duration::from_secs(180)).await;
    assert_eq!(process.terminate(Duration::from_secs(60)), 0);
    assert_same_until(site, &undisturbed, last).await
}

/// As [`assert_same`], where the other has gone on behind the last epoch that both have: what it has said since about the
/// platform itself, such as that a sink is back, is left out.
pub async fn assert_same_until(one: &Site, other: &Site, last: Epoch) -> u64 {
    let mut rows = 0;
    for table in tables() {
        let which = match table {
            "alarms" => {
                format!(
                    "WHERE alarm_id NOT IN (SELECT alarm_id FROM {}.alarms WHERE epoch > {last})",
                    other.name
                )
            }
            "alarm_events" => format!("WHERE epoch <= {last}"),
            _ => String::new(),
        };
        let sql = format!(
            "SELECT count(), sum(cityHash64(tuple(* EXCEPT (written_at)))) FROM {table} FINAL {which}"
        );
        let (first, second) = (one.query(&sql).await, other.query(&sql).await);
        rows += first[0][0].parse::<u64>().unwrap();
        if first != second {
            let (only_one, only_other) = difference(one, other, table).await;
            panic!(
                "{table}: {first:?} against {second:?} until epoch {last}\nonly in {}:\n{only_one}\nonly in {}:\n{only_other}",
                one.name, other.name
            );
        }
    }
    rows
}

/// The first rows that only one of two sites has.
async fn difference(one: &Site, other: &Site, table: &str) -> (String, String) {
    let mut told = Vec::new();
    for (here, there) in [(one, other), (other, one)] {
        let columns = "* EXCEPT (written_at)";
        let sql = format!(
            "SELECT toString(tuple({columns})) FROM {}.{table} FINAL WHERE cityHash64(tuple({columns})) NOT IN \
             (SELECT cityHash64(tuple({columns})) FROM {}.{table} FINAL) ORDER BY 1 LIMIT 8",
            here.name, there.name
        );
        let rows = here.query(&sql).await;
        told.push(rows.into_iter().flatten().collect::<Vec<_>>().join("\n"));
    }
    (told.remove(0), told.remove(0))
}
