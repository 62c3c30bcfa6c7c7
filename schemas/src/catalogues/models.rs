//! Rows of `models.csv` to settings of models, and how they are merged.
//!
//! Enters: rows, and the settings that are there. Leaves: the settings with them. Guarantees: a setting is one that a
//! model has, in its unit and within its bounds; one value per setting and scope.

use super::Merged;
use crate::{
    ModelSetting,
    nearest::hint,
    registry_files::{
        rows::Cells,
        table::{Form, Problems},
    },
};

pub(super) const FORM: Form = Form {
    file: super::directory::MODELS,
    required: &["model", "setting", "value"],
    optional: &["scope", "unit", "least", "most", "meaning"],
    attributes: false,
    comments: true,
};

/// A row as it is written. Unit, bounds and meaning are those of the shipped setting where it gives none.
pub(super) struct Row {
    setting: ModelSetting,
    bounds: (Option<f64>, Option<f64>),
}

/// Reads one row.
pub(super) fn read(cells: &mut Cells<'_>) -> Option<Row> {
    let (model, setting) = (cells.required("model"), cells.required("setting"));
    let value = cells.required_number("value");
    let scope = cells.code("scope").unwrap_or_default();
    let bounds = (cells.number("least"), cells.number("most"));
    let (unit, meaning) = (cells.string("unit"), cells.string("meaning"));
    let setting = ModelSetting {
        model: model?,
        setting: setting?,
        scope,
        value: value?,
        unit,
        bounds: (bounds.0.unwrap_or(f64::MIN), bounds.1.unwrap_or(f64::MAX)),
        meaning,
    };
    Some(Row { setting, bounds })
}

/// Puts rows among the settings. Only the shipped file says which settings there are.
pub(super) fn merge(
    settings: &mut Vec<ModelSetting>,
    rows: Vec<(u64, Row)>,
    of_user: bool,
    problems: &mut Problems,
) -> Merged {
    let (mut merged, mut lines) = (Merged::default(), Vec::<(u64, ModelSetting)>::new());
    for (line, Row { mut setting, bounds }) in rows {
        if of_user {
            let Some(shipped) = settings.iter().find(|known| of_same(known, &setting)) else {
                problems.push((line, unknown(&setting, settings)));
                continue;
            };
            let other =
                |written: Option<f64>, shipped: f64| written.is_some_and(|written| written != shipped);
            if !setting.unit.is_empty() && setting.unit != shipped.unit
                || other(bounds.0, shipped.bounds.0)
                || other(bounds.1, shipped.bounds.1)
            {
                let (unit, (least, most)) = (&shipped.unit, shipped.bounds);
                let name = setting.attribute();
                problems.push((
                    line,
                    format!(
                        "{name} is shipped with unit {unit:?} and bounds {least} and {most}, which do not change: \
                         leave unit, least and most empty"
                    ),
                ));
                continue;
            }
            (setting.unit, setting.bounds) = (shipped.unit.clone(), shipped.bounds);
            if setting.meaning.is_empty() {
                setting.meaning.clone_from(&shipped.meaning);
            }
        }
        if let Some(what) = setting.beyond(setting.value) {
            problems.push((line, what));
        }
        let same = |known: &ModelSetting| of_same(known, &setting) && known.scope == setting.scope;
        if let Some((first, _)) = lines.iter().find(|(_, earlier)| same(earlier)) {
            let (name, scope) = (setting.attribute(), &setting.scope);
            problems.push((
                line,
                format!("{name} of scope {scope:?} stands already in line {first}: delete one"),
            ));
            continue;
        }
        lines.push((line, setting.clone()));
        match settings.iter_mut().find(|known| same(known)) {
            Some(known) => {
                *known = setting;
                merged.replaced += 1;
            }
            None => {
                settings.push(setting);
                merged.added += 1;
            }
        }
    }
    merged
}

fn of_same(one: &ModelSetting, other: &ModelSetting) -> bool {
    one.model == other.model && one.setting == other.setting
}

fn unknown(setting: &ModelSetting, settings: &[ModelSetting]) -> String {
    let of_model: Vec<&str> = settings
        .iter()
        .filter(|known| known.model == setting.model && known.scope.is_empty())
        .map(|known| known.setting.as_str())
        .collect();
    if of_model.is_empty() {
        let models: std::collections::BTreeSet<&str> =
            settings.iter().map(|known| known.model.as_str()).collect();
        let hint = hint(&setting.model, models.iter().copied());
        let known = models.into_iter().collect::<Vec<_>>().join(", ");
        return format!("unknown model {}{hint}: the models are {known}", setting.model);
    }
    let hint = hint(&setting.setting, of_model.iter().copied());
    let known = of_model.join(", ");
    format!("unknown setting {} of {}{hint}: its settings are {known}", setting.setting, setting.model)
}
