//! Directories of the user's: what they add, and what of them is refused, each with its place.

use std::fs;

use super::*;
use crate::{Code, MetricKind, Side};

const METRICS: &str = "code,name,unit,kind,decimals,min,max,max_rate,spike,flat_tolerance,flat_suspect,flat_fail,flat_above,zero,low\n";
const FLUE: &str = "flue_temp_2,二号烟道温度,°C,gauge,1,-20,600,30,50,0.1,3600,7200,50,never,heating\n";
const THRESHOLDS: &str =
    "scope,metric,side,level1,level2,level3,deadband,on_delay,off_delay,enabled,advice\n";
const TABLES: &str = "group,table,name,feed,settle,key,clause\n";
const FIELDS: &str = "table,field,name,type,length,required,values,source\n";
const KPIS: &str = "code,name,english,unit,decimals,season_decimals,source,enabled,parameters\n";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("exchange")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn read(files: &[(&str, &str)]) -> Catalogues {
    Catalogues::read(directory(files).path()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with a directory that is called `c`.
fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let directory = directory(files);
    let Err(Error::Catalogues(problems)) = Catalogues::read(directory.path()) else {
        panic!("{files:?} is not refused")
    };
    let path = directory.path().display().to_string();
    problems.iter().map(|problem| problem.replace(&path, "c")).collect()
}

#[test]
fn everything_that_is_added_is_there_beside_what_is_shipped() {
    let shipped = Catalogues::shipped();
    let user = read(&[
        ("metrics.csv", &format!("{METRICS}# our own\n{FLUE}")),
        (
            "thresholds.csv",
            &format!("{THRESHOLDS}boiler_house,flue_temp_2,high,300,250,200,5,60,60,true,清灰 / clean\n"),
        ),
        ("sentinels.csv", "value,shifts,metrics,meaning\n555,0,flue_temp_2 supply_temp,broken wire\n"),
        ("models.csv", "model,setting,scope,value\nenergy_signature,least_hours,ST-1,48\n"),
        ("exchange/tables.csv", &format!("{TABLES}own,boiler_run,锅炉房,kpi:source:day,60,BSM;TJSJ,\n")),
        (
            "exchange/fields.csv",
            &format!(
                "{FIELDS}boiler_run,BSM,标识码,string,20,M,,facility.code\nboiler_run,TJSJ,时间,datetime,,M,,window\n\
                 boiler_run,GRL,供热量,float,,O,,kpi.heat_supplied|facility.attribute.heat|=0\n"
            ),
        ),
    ]);
    let id = user.metrics.id("flue_temp_2").unwrap();
    assert_eq!(usize::from(id.0), shipped.metrics.iter().count(), "it comes behind all others");
    let metric = user.metrics.metric(id);
    assert_eq!((metric.kind, metric.decimals, metric.flat_above), (MetricKind::Gauge, 1, Some(50.0)));
    for (id, metric) in shipped.metrics.iter() {
        assert_eq!(user.metrics.metric(id), metric, "a number keeps its metric");
    }
    let rule = user.thresholds.last().unwrap();
    assert_eq!((rule.scope.as_str(), rule.metric, rule.side), ("boiler_house", id, Side::High));
    assert_eq!(user.sentinels.last().unwrap().codes().collect::<Vec<_>>(), ["flue_temp_2", "supply_temp"]);
    assert_eq!(user.tables.named("boiler_run").unwrap().fields.len(), 3);
    let setting = user.models.last().unwrap();
    assert_eq!((setting.scope.as_str(), setting.value, setting.unit.as_str()), ("ST-1", 48.0, "h"));
    let sizes = Sizes { metrics: 1, sentinels: 1, thresholds: 1, models: 1, tables: 1, ..Sizes::default() };
    assert_eq!(user.sizes_of_user(), (sizes, Sizes::default()));
    assert_eq!(user.sizes_shipped(), shipped.sizes_shipped());
}

#[test]
fn a_shipped_metric_and_threshold_take_other_limits() {
    let room = "room_temp,房间温度,Cel,gauge,2,-10,40,2,,,,,,,\n";
    let rule = "station,secondary_supply_temp,high,95,90,,2,60,60,false,\n";
    let user = read(&[
        ("metrics.csv", &format!("{METRICS}{room}")),
        ("thresholds.csv", &format!("{THRESHOLDS}{rule}")),
    ]);
    let (shipped, id) = (Catalogues::shipped(), user.metrics.id("room_temp").unwrap());
    let metric = user.metrics.metric(id);
    assert_eq!(shipped.metrics.id("room_temp"), Some(id));
    assert_eq!((metric.unit.as_str(), metric.name.as_str(), metric.decimals), ("°C", "房间温度", 2));
    assert_eq!((metric.max, metric.spike, metric.zero), (40.0, None, None), "the row counts as a whole");
    let of = |catalogues: &Catalogues| -> Vec<Threshold> {
        let metric = catalogues.metrics.id("secondary_supply_temp").unwrap();
        let same = |t: &&Threshold| (t.scope.as_str(), t.metric, t.side) == ("station", metric, Side::High);
        catalogues.thresholds.iter().filter(same).cloned().collect()
    };
    let [rule] = &of(&user)[..] else { panic!("{:?}", of(&user)) };
    assert_eq!((rule.level1, rule.level3, rule.enabled), (Some(95.0), None, false));
    assert_eq!(user.thresholds.len(), shipped.thresholds.len());
    let replaced = Sizes { metrics: 1, thresholds: 1, ..Sizes::default() };
    assert_eq!(user.sizes_of_user(), (Sizes::default(), replaced));
}

#[test]
fn a_kpi_takes_other_settings() {
    let rows = "degree_days,度日,degree-days,°C·d,3,1,C 9,false,base_temp=26.5\n\
                heat_per_area,供热,heat,GJ/m2,0,0,T 2.15.4.5,,\n\
                room_temp_overhigh,过高,too warm,%,1,0,P 3,,\n";
    let user = read(&[("kpis.csv", &format!("{KPIS}{rows}"))]);
    let of =
        |catalogues: &Catalogues, code| catalogues.kpis.iter().find(|kpi| kpi.code == code).cloned().unwrap();
    let days = of(&user, "degree_days");
    assert_eq!(
        (days.name.as_str(), days.english.as_str(), days.source.as_str()),
        ("度日", "degree-days", "C 9")
    );
    assert_eq!((days.unit.as_str(), days.decimals, days.season_decimals), ("°C·d", 3, 1));
    assert_eq!((days.enabled, &days.parameters[..]), (false, &[("base_temp".to_owned(), 26.5)][..]));
    let heat = of(&user, "heat_per_area");
    assert_eq!((heat.decimals, heat.enabled, heat.unit.as_str()), (0, true, "GJ/m²"));
    let shipped = Catalogues::shipped();
    let parameters = |catalogues| of(catalogues, "room_temp_overhigh").parameters;
    assert_eq!(parameters(&user), parameters(&shipped), "what a row does not name keeps its value");
    let codes =
        |catalogues: &Catalogues| catalogues.kpis.iter().map(|kpi| kpi.code.clone()).collect::<Vec<_>>();
    assert_eq!(codes(&user), codes(&shipped));
    assert_eq!(user.sizes_of_user(), (Sizes::default(), Sizes { kpis: 3, ..Sizes::default() }));
}

#[rstest::rstest]
#[case::unit("heat_supplied,甲,a,MJ,1,0,T,,", "KPI heat_supplied is computed in GJ, not MJ: leave its unit")]
#[case::fewer(
    "heat_supplied,甲,a,GJ,1,2,T,,",
    "heat_supplied: decimals 1 are fewer than season_decimals 2: an hour has at least those of a season"
)]
#[case::decimals("heat_supplied,甲,a,GJ,10,2,T,,", "decimals \"10\" is no whole number from 0 to 9")]
#[case::english("heat_supplied,甲,,GJ,1,0,T,,", "english is empty: fill it in")]
#[case::enabled("heat_supplied,甲,a,GJ,1,0,T,maybe,", "enabled \"maybe\" is neither true nor false")]
#[case::parameter(
    "degree_days,甲,a,°C·d,2,0,T,,base_tmp=20",
    "KPI degree_days has no parameter base_tmp (did you mean base_temp?): it has base_temp"
)]
#[case::no_parameter(
    "heat_supplied,甲,a,GJ,1,0,T,,base_temp=20",
    "KPI heat_supplied has no parameter base_temp: it has none, leave parameters empty"
)]
#[case::parameter_twice(
    "degree_days,甲,a,°C·d,2,0,T,,base_temp=20 base_temp=21",
    "parameter base_temp stands twice: delete one"
)]
#[case::no_number(
    "degree_days,甲,a,°C·d,2,0,T,,base_temp",
    "parameter \"base_temp\" is not name=number: write numbers with a decimal point, and spaces between parameters"
)]
#[case::twice("online_rate,甲,a,%,1,0,T,,", "KPI online_rate stands already in line 2: delete one")]
fn a_kpi_is_refused_with_its_line(#[case] row: &str, #[case] want: &str) {
    let rows = format!("{KPIS}online_rate,甲,a,%,1,0,T,,\n# a comment\n{row}\n");
    assert_eq!(problems(&[("kpis.csv", &rows)]), [format!("c/kpis.csv:4: {want}")]);
}

#[test]
fn an_unknown_kpi_is_refused_with_the_nearest() {
    let said = problems(&[("kpis.csv", &format!("{KPIS}heat_suplied,甲,a,GJ,1,0,T,,\n"))]).remove(0);
    let start = "c/kpis.csv:2: unknown KPI heat_suplied (did you mean heat_supplied?): the KPIs are clean_device_elec";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn hundreds_of_metrics_have_numbers_of_their_own() {
    let rows: String = (0..400).map(|n| FLUE.replace("flue_temp_2", &format!("own_{n}"))).collect();
    let user = read(&[("metrics.csv", &format!("{METRICS}{rows}"))]);
    let first = Catalogues::shipped().metrics.iter().count() as u16;
    for n in 0..400 {
        assert_eq!(user.metrics.id(&format!("own_{n}")).unwrap().0, first + n);
    }
}

#[rstest::rstest]
#[case::another_unit(
    "heat_power,热功率,MW,gauge,1,0,500,,,,,,,,",
    "metric heat_power is shipped in kW, not MW: give it another code"
)]
#[case::no_unit(
    "heat_power,热功率,,gauge,1,0,500,,,,,,,,",
    "metric heat_power is shipped in kW, not no unit: give it another code"
)]
#[case::another_kind(
    "heat_power,热功率,kW,counter,1,0,500,,,,,,,,",
    "metric heat_power is shipped as a gauge, not a counter: give it another code"
)]
#[case::min_above_max("own,甲,kW,gauge,1,5,1,,,,,,,,", "own: min 5 is above max 1")]
#[case::kind(
    "own,甲,kW,guage,1,0,1,,,,,,,,",
    "unknown kind \"guage\" (did you mean gauge?): write gauge, counter, state, position"
)]
#[case::number(
    "own,甲,kW,gauge,1,0,x,,,,,,,,",
    "max \"x\" is no number: write digits with a decimal point, or leave it empty"
)]
#[case::no_max("own,甲,kW,gauge,1,0,,,,,,,,,", "max is empty: fill it in")]
#[case::decimals("own,甲,kW,gauge,12,0,1,,,,,,,,", "decimals \"12\" is no whole number from 0 to 9")]
#[case::no_name("own,,kW,gauge,1,0,1,,,,,,,,", "name is empty: fill it in")]
#[case::code(
    "own temp,甲,kW,gauge,1,0,1,,,,,,,,",
    "code \"own temp\" contains ' ': use letters, digits, - and _"
)]
#[case::senml(
    "own:temp,甲,kW,gauge,1,0,1,,,,,,,,",
    "code \"own:temp\" contains ':': use letters, digits, - and _"
)]
#[case::rate(
    "own,甲,kW,gauge,1,0,1,-3,,,,,,,",
    "max_rate -3 is not above zero: correct it or leave it empty"
)]
#[case::flat(
    "own,甲,kW,gauge,1,0,1,,,0.1,,,,,",
    "own: give flat_tolerance and one of flat_suspect and flat_fail, or none of the three"
)]
#[case::zero(
    "own,甲,kW,gauge,1,0,1,,,,,,,nevr,",
    "unknown zero \"nevr\" (did you mean never?): write never, alone"
)]
#[case::low("own,甲,kW,gauge,1,0,1,,,,,,,,summer", "unknown low \"summer\": write heating")]
#[case::cells("own,甲,kW,gauge", "has 4 cells, the header has 15: check commas and quotes")]
#[case::collision(
    "m_rhfdnr,甲,kW,gauge,1,0,1,,,,,,,,",
    "metric m_rhfdnr has the same hash as room_temp: choose another code"
)]
#[case::reserved(
    "m_axmyek,甲,kW,gauge,1,0,1,,,,,,,,",
    "metric m_axmyek has the hash 14, which is reserved: choose another code"
)]
fn a_metric_is_refused_with_its_line(#[case] row: &str, #[case] want: &str) {
    let said = problems(&[("metrics.csv", &format!("{METRICS}{FLUE}# a comment\n{row}\n"))]);
    assert_eq!(said, [format!("c/metrics.csv:4: {want}")]);
}

#[test]
fn an_unknown_unit_is_refused_with_the_nearest() {
    let said = problems(&[("metrics.csv", &format!("{METRICS}own,甲,kPas,gauge,1,0,1,,,,,,,,\n"))]);
    let [said] = &said[..] else { panic!("{said:?}") };
    let start = "c/metrics.csv:2: own: unknown unit \"kPas\" (did you mean kPa?): the units are Cel, °C";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn a_code_given_twice_is_refused_with_both_lines() {
    let windows = format!("{METRICS}{FLUE}\n{FLUE}").replace('\n', "\r\n");
    for text in [format!("{METRICS}{FLUE}\n{FLUE}"), windows] {
        let said = problems(&[("metrics.csv", &text)]);
        assert_eq!(said, ["c/metrics.csv:4: metric flue_temp_2 stands already in line 2: delete one"]);
    }
    let row = "station,supply_temp,high,9,8,7,1,0,0,true,\n";
    let said = problems(&[("thresholds.csv", &format!("{THRESHOLDS}{row}{row}"))]);
    assert_eq!(
        said,
        [
            "c/thresholds.csv:3: the high threshold of station for this metric stands already in line 2: delete one, \
             or name it in the column rule"
        ]
    );
    let rules =
        "scope,metric,side,level1,rule\nstation,supply_temp,high,9,\nstation,supply_temp,high,8,slow\n";
    let names: Vec<Code> =
        read(&[("thresholds.csv", rules)]).thresholds.iter().map(|t| t.rule.clone()).collect();
    assert_eq!(names.iter().filter(|name| *name == "slow").count(), 1, "several rules have names");
}

#[rstest::rstest]
#[case::metric(
    "station,suply_temp,high,9,8,7,1,0,0,true,",
    "unknown metric suply_temp (did you mean supply_temp?): write a code of the metric catalogue"
)]
#[case::levels("station,supply_temp,high,7,8,9,1,0,0,true,", "side high: level1 7 must be above level2 8")]
#[case::no_level(
    "station,supply_temp,high,,,,1,0,0,true,",
    "has no level: give level1, level2 or level3, or delete the row"
)]
#[case::side(
    "station,supply_temp,hihg,9,8,7,1,0,0,true,",
    "unknown side \"hihg\" (did you mean high?): write high, low"
)]
#[case::delay(
    "station,supply_temp,high,9,8,7,1,soon,0,true,",
    "on_delay \"soon\" is no whole number of seconds of at least 0"
)]
fn a_threshold_is_refused_with_its_line(#[case] row: &str, #[case] want: &str) {
    let said = problems(&[("thresholds.csv", &format!("{THRESHOLDS}{row}\n"))]);
    assert_eq!(said[0], format!("c/thresholds.csv:2: {want}"));
}

#[test]
fn a_scope_of_the_registry_is_refused() {
    let row = "staton,supply_temp,high,9,8,7,1,0,0,true,\n";
    let said = problems(&[("thresholds.csv", &format!("{THRESHOLDS}{row}"))]).remove(0);
    let start =
        "c/thresholds.csv:2: unknown scope staton (did you mean station?): the scopes are boiler_house";
    assert!(
        said.starts_with(start) && said.ends_with("belongs into the registry's thresholds.csv"),
        "{said}"
    );
}

#[rstest::rstest]
#[case::metric(
    "5,0,suply_temp,none",
    "unknown metric suply_temp (did you mean supply_temp?): write codes of the metric catalogue, with spaces between"
)]
#[case::shifts("5,x,,none", "shifts \"x\" is no whole number from 0 to 9")]
#[case::shipped("9999,0,,none", "value 9999 is there already: delete one")]
fn a_sentinel_is_refused_with_its_line(#[case] row: &str, #[case] want: &str) {
    let said = problems(&[("sentinels.csv", &format!("value,shifts,metrics,meaning\n{row}\n"))]);
    assert_eq!(said, [format!("c/sentinels.csv:2: {want}")]);
}

#[rstest::rstest]
#[case::shipped(
    "basic,heat_station,站,device,0,K,",
    "",
    "tables.csv:2: table heat_station is shipped and stays as it is: give yours another name"
)]
#[case::twice(
    "o,t,甲,alarm,0,K,\no,t,甲,alarm,0,K,",
    "t,K,名,string,,M,,=1",
    "tables.csv:3: table t stands already in line 2: delete one"
)]
#[case::feed(
    "o,t,甲,weather,0,K,",
    "",
    "tables.csv:2: feed \"weather\" is not known: write facility:KIND;KIND, device, threshold, kpi:SCOPE:PERIOD or alarm"
)]
#[case::key("o,t,甲,alarm,0,K,", "", "tables.csv:2: key field K of t is not in exchange/fields.csv")]
#[case::field_of_shipped(
    "",
    "heat_station,NEU,新,string,,O,,=1",
    "fields.csv:2: table heat_station is shipped and stays as it is: give a table of your own the field"
)]
#[case::field_of_none(
    "o,table,甲,alarm,0,K,",
    "table,K,名,string,,M,,=1\ntabel,L,名,string,,M,,=1",
    "fields.csv:3: table tabel is not in exchange/tables.csv (did you mean table?)"
)]
#[case::field_twice(
    "o,t,甲,alarm,0,K,",
    "t,K,名,string,,M,,=1\nt,K,名,string,,M,,=1",
    "fields.csv:3: field K of t stands twice: delete one"
)]
#[case::kind(
    "o,t,甲,alarm,0,K,",
    "t,K,名,string,,M,,=1\nt,L,名,text,,M,,=1",
    "fields.csv:3: unknown type \"text\": write string, integer, float, date, datetime"
)]
#[case::source(
    "o,t,甲,threshold,0,K,",
    "t,K,名,string,,M,,=1\nt,L,名,string,,M,,threshold.level4",
    "fields.csv:3: field L of t: unknown source threshold.level4 (did you mean threshold.level1?): the feed gives threshold.id, threshold.scope, threshold.metric, threshold.level1, threshold.level2, threshold.level3"
)]
fn an_exchange_table_is_refused_with_its_line(
    #[case] tables: &str,
    #[case] fields: &str,
    #[case] want: &str,
) {
    let said = problems(&[
        ("exchange/tables.csv", &format!("{TABLES}{tables}\n")),
        ("exchange/fields.csv", &format!("{FIELDS}{fields}\n")),
    ]);
    assert_eq!(said[0], format!("c/exchange/{want}"));
}

#[test]
fn a_kpi_that_does_not_exist_is_no_source() {
    let said = problems(&[
        ("exchange/tables.csv", &format!("{TABLES}o,t,甲,kpi:source:day,0,K,\n")),
        ("exchange/fields.csv", &format!("{FIELDS}t,K,名,string,,M,,kpi.heat_suplied\n")),
    ]);
    let start = "c/exchange/fields.csv:2: field K of t: unknown source kpi.heat_suplied (did you mean kpi.heat_supplied?)";
    assert!(said[1].starts_with(start), "{said:?}");
}

#[test]
fn a_file_that_is_none_of_them_is_refused_by_name() {
    let known = "the files are metrics.csv, kpis.csv, sentinels.csv, thresholds.csv, models.csv, exchange/tables.csv, exchange/fields.csv";
    let files =
        [("metric.csv", ""), ("exchange/feilds.csv", ""), ("notes.txt", ""), (".metrics.csv.swp", "")];
    assert_eq!(
        problems(&files),
        [
            format!("c/metric.csv: unknown file (did you mean metrics.csv?): {known}; rename or move it"),
            format!("c/notes.txt: unknown file: {known}; rename or move it"),
            format!(
                "c/exchange/feilds.csv: unknown file (did you mean exchange/fields.csv?): {known}; rename or move it"
            ),
        ]
    );
    assert_eq!(
        problems(&[]),
        [format!("c: holds no catalogue: {known}; put one there, or remove catalogue.directory")]
    );
}

#[test]
fn a_file_that_is_no_text_or_has_other_columns_is_refused() {
    let said = problems(&[("metrics.csv", "code,name,unit,knid,decimals,min,max\n")]);
    assert!(said[0].starts_with("c/metrics.csv:1: required column kind is absent"), "{said:?}");
    assert!(said[1].starts_with("c/metrics.csv:1: unknown column knid (did you mean kind?)"), "{said:?}");
    let said = problems(&[("metrics.csv", ""), ("thresholds.csv", "\u{feff}scope,metric\n")]);
    assert_eq!(said, ["c/thresholds.csv:1: required column side is absent: add it"]);
}

#[test]
fn every_problem_of_every_file_is_named_at_once() {
    let said = problems(&[
        ("metrics.csv", &format!("{METRICS}a,甲,kW,gauge,1,5,1,,,,,,,,\nb,乙,kW,gauge,1,5,1,,,,,,,,\n")),
        ("thresholds.csv", &format!("{THRESHOLDS}station,none,high,9,8,7,1,0,0,true,\n")),
    ]);
    let places: Vec<&str> = said.iter().map(|said| said.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["c/metrics.csv:2", "c/metrics.csv:3", "c/thresholds.csv:2"]);
}

#[test]
fn what_is_in_use_is_not_exchanged() {
    assert_eq!(*in_force(), Catalogues::shipped());
    assert!(Catalogues::shipped().install().is_ok(), "the same may come again");
    let other = read(&[("metrics.csv", &format!("{METRICS}{FLUE}"))]);
    assert!(matches!(other.install(), Err(Error::CataloguesInUse)));
}

#[rstest::rstest]
#[case::model(
    "energy_signatur,least_hours,,24",
    "unknown model energy_signatur (did you mean energy_signature?): the models are energy_signature"
)]
#[case::setting(
    "energy_signature,least_hour,,24",
    "unknown setting least_hour of energy_signature (did you mean least_hours?): its settings are"
)]
#[case::beyond(
    "energy_signature,least_hours,,1",
    "energy_signature.least_hours 1 lies outside 2 to 168 h: write a value between them"
)]
#[case::no_number("energy_signature,least_hours,,viele", "is no number")]
#[case::twice(
    "energy_signature,least_hours,station,12\nenergy_signature,least_hours,station,14",
    "stands already in line 2: delete one"
)]
fn settings_of_models_that_are_none_are_refused(#[case] rows: &str, #[case] want: &str) {
    let found = problems(&[("models.csv", &format!("model,setting,scope,value\n{rows}\n"))]);
    let line = 1 + rows.lines().count();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("c/models.csv:{line}: ")) && found[0].contains(want), "{found:?}");
}

#[test]
fn a_setting_keeps_its_unit_and_bounds() {
    let rows = "model,setting,scope,value,unit,least\nenergy_signature,least_hours,,24,min,\nenergy_signature,most_hours,,700,h,1\n";
    let found = problems(&[("models.csv", rows)]);
    assert!(found.len() == 2 && found.iter().all(|problem| problem.contains("do not change")), "{found:?}");
}
