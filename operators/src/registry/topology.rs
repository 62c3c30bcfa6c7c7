//! The topology, in differential collections: who stands above whom, and what lies below.
//!
//! Only facilities that are a parent have lineages of their own; whatever hangs below joins the finished lineage of its
//! parent. Households, by far the most, are thus held once by parent, once by enterprise and once by district.

use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use schemas::{Code, Epoch, FacilityKind, Reject, ScopeKind};
use timely::dataflow::{
    StreamVec,
    operators::vec::{Delay, Map},
};

use super::{
    conflict,
    piece::{Joined, Link, Path, Step, Sum},
};

type Rows<'scope, D> = VecCollection<'scope, Epoch, D, i64>;

/// What is known about facilities, by code.
type JoinedRows<'scope> = Rows<'scope, (Code, Joined)>;

/// What is wrong with an entry, by key.
type Problems<'scope> = Rows<'scope, (Code, String)>;

/// A way up: its length, the code above it, and itself.
type Way = (u64, Option<Code>, Path);

/// Longest chain of facilities: plant, branch, relay pump, station, unit, community, building and household are eight.
const DEEPEST_FACILITY: usize = 12;
/// Longest chain of districts: province, city, county, town and village are five.
const DEEPEST_DISTRICT: usize = 6;

/// What is known about each facility, and the circles.
pub(super) fn topology<'scope>(
    links: StreamVec<'scope, Epoch, (Link, i64)>,
) -> (JoinedRows<'scope>, StreamVec<'scope, Epoch, Reject>) {
    let links: Rows<'scope, Link> = timed(links);
    let nodes = links.clone().flat_map(|link| match link {
        Link::Facility { code, kind, has_area, parent } => Some((code, (kind, has_area, parent))),
        _ => None,
    });
    let children = nodes.clone().flat_map(|(code, (_, _, parent))| parent.map(|parent| (parent, code)));
    let parents = children.clone().map(|(parent, _)| parent).distinct_core::<i64>();
    let inner =
        nodes.semijoin(parents).map(|(code, (kind, has_area, parent)): (Code, (FacilityKind, bool, _))| {
            let step = Step { code: code.clone(), scope: kind.scope(), has_area };
            (code, (step, parent))
        });
    let (paths, facility_circles) = lineages("facility", DEEPEST_FACILITY, inner);
    let paths = paths.arrange_by_key_named("Lineages");
    let above = children
        .arrange_by_key_named("Children")
        .join_core(paths.clone(), |_, child, path| Some((child.clone(), Joined::Above(path.clone()))));
    let adds = links.clone().flat_map(|link| match link {
        Link::Adds { parent, sum } => Some((parent, sum)),
        _ => None,
    });
    let below = adds
        .arrange_by_key_named("Adds")
        .join_core(paths, |_, sum, path| receivers(*sum, path))
        .count_core::<i64>()
        .map(|((code, sum), total)| (code, Joined::Below(sum, total)));
    let (districts, district_circles) = districts(links.clone());
    let joined = above.concat(below).concat(districts).concat(enterprises(links));
    (joined, rejects(facility_circles.concat(district_circles)))
}

/// The facilities on the way up to whose sum something below counts.
fn receivers(sum: Sum, path: &Path) -> Vec<(Code, Sum)> {
    let counts = |step: &&Step| sum == Sum::Households || !step.has_area;
    path.iter().take_while(counts).map(|step| (step.code.clone(), sum)).collect()
}

fn enterprises(links: Rows<'_, Link>) -> JoinedRows<'_> {
    let enterprises = links.clone().flat_map(|link| match link {
        Link::Enterprise { code } => Some((code, ())),
        _ => None,
    });
    let run = links.flat_map(|link| match link {
        Link::RunBy { facility, enterprise } => Some((enterprise, facility)),
        _ => None,
    });
    run.join_map(enterprises, |code, facility, ()| (facility.clone(), Joined::Enterprise(code.clone())))
}

fn districts<'scope>(links: Rows<'scope, Link>) -> (JoinedRows<'scope>, Problems<'scope>) {
    let nodes = links.clone().flat_map(|link| match link {
        Link::District { code, parent } => {
            let scope = if parent.is_none() { ScopeKind::City } else { ScopeKind::District };
            Some((code.clone(), (Step { code, scope: Some(scope), has_area: false }, parent)))
        }
        _ => None,
    });
    let inside = links.flat_map(|link| match link {
        Link::StandsIn { facility, district } => Some((district, facility)),
        _ => None,
    });
    let (paths, circles) = lineages("district", DEEPEST_DISTRICT, nodes);
    let joined =
        inside.join_map(paths, |_, facility, path| (facility.clone(), Joined::Districts(path.clone())));
    (joined, circles)
}

/// The way up from each node, cut before a code would stand twice, and what is wrong with it, by key.
fn lineages<'scope>(
    what: &'static str,
    deepest: usize,
    nodes: Rows<'scope, (Code, (Step, Option<Code>))>,
) -> (Rows<'scope, (Code, Path)>, Problems<'scope>) {
    let arranged = nodes.clone().arrange_by_key_named("Nodes");
    let mut level = nodes.map(|(_, (step, next))| (next, vec![step]));
    let mut ways = level.clone();
    for _ in 1..deepest {
        let open = level.flat_map(|(next, path): (Option<Code>, Vec<Step>)| {
            next.filter(|next| !stands_in(next, &path)).map(|next| (next, path))
        });
        level = open.arrange_by_key_named("Way").join_core(arranged.clone(), |_, path, (step, next)| {
            let mut path = path.clone();
            path.push(step.clone());
            Some((next.clone(), path))
        });
        ways = ways.concat(level.clone());
    }
    let longest = ways
        .map(|(next, path)| (path[0].code.clone(), (path.len() as u64, next, Arc::new(path))))
        .reduce_named("Longest", |_, ways, out: &mut Vec<(Way, i64)>| {
            // The ways of a node are prefixes of each other and sorted by length.
            out.extend(ways.last().map(|(way, _)| ((*way).clone(), 1)));
        });
    let circles = longest.clone().flat_map(move |(code, (_, next, path))| {
        problem((what, deepest), &code, next.as_ref(), &path)
            .map(|detail| (format!("{what}/{code}").into(), detail))
    });
    (longest.map(|(code, (_, _, path))| (code, path)), circles)
}

fn stands_in(code: &Code, path: &[Step]) -> bool {
    path.iter().any(|step| step.code == *code)
}

/// A circle, named under its least code, or a way that is too long.
fn problem(
    (what, deepest): (&str, usize),
    code: &Code,
    next: Option<&Code>,
    path: &[Step],
) -> Option<String> {
    let next = next?;
    if next == code && path.iter().all(|step| step.code >= *code) {
        let way: Vec<&str> = path.iter().map(|step| step.code.as_str()).chain([code.as_str()]).collect();
        Some(format!("the parents of {what} {code} form a circle: {}: correct one parent", way.join(" -> ")))
    } else if path.len() == deepest && !stands_in(next, path) {
        Some(format!(
            "{what} {code} stands below more than {} others: {next} and what lies above it are left out",
            deepest - 1
        ))
    } else {
        None
    }
}

/// A reject for every problem that is new in its epoch.
fn rejects(problems: Problems<'_>) -> StreamVec<'_, Epoch, Reject> {
    problems
        .consolidate()
        .inner
        .delay(|(_, epoch, _), _| *epoch)
        .flat_map(|((key, detail), _, difference)| (difference > 0).then(|| conflict(&key, detail)))
}

/// The differences as a collection at the epochs of their messages.
fn timed(links: StreamVec<'_, Epoch, (Link, i64)>) -> Rows<'_, Link> {
    use timely::dataflow::{channels::pact::Pipeline, operators::Operator};
    links
        .unary(Pipeline, "RegistryLinks", |_, _| {
            move |input, output| {
                input.for_each(|capability, links| {
                    let epoch = *capability.time();
                    let rows = links.drain(..).map(|(link, difference)| (link, epoch, difference));
                    output.session(&capability).give_iterator(rows);
                });
            }
        })
        .as_collection()
}
