//! Whether root has told the module what lies below a stacked block device. Without that it binds no buffer to one
//! (`route_distance_to_stack`, kmod/route.c).

use super::finding::{Finding, Severity, Way, What};
use crate::{
    Refusal,
    control::STACK,
    machine::Facts,
    pci::Address,
    storage::{DmTarget, Evidence, Layer, LayerKind, Source, Stack},
};

/// `9:0=0000:01:00.0,0000:02:00.0`, as root tells the module which functions a stack ends in. `None` where it does not
/// end in such alone, or where it takes a way that the module does not ([`may_sleep`](super::storage)).
pub(super) fn line(stack: &Stack, layer: &Layer) -> Option<String> {
    let takes = |layer: &Layer| layer.passes() == Some(true) && layer.kind != LayerKind::Dm(DmTarget::Multipath);
    let passes = stack.layers().into_iter().all(|(_, layer)| takes(layer));
    let functions: Vec<_> = stack.functions().iter().map(ToString::to_string).collect();
    let number = layer.number.filter(|_| passes && !functions.is_empty())?;
    Some(format!("{number}={}", functions.join(",")))
}

/// What the module was told of a stack.
enum Told {
    /// These functions. Of a device that had the same number before it, the same is read.
    Functions(Vec<Address>),
    /// Nothing; `loaded` if there is a module that could be told.
    Nothing { loaded: bool },
    /// This user may not read it, or nobody read it when the machine was recorded.
    Unreadable(String),
}

impl Told {
    fn read(facts: &dyn Facts, layer: &Layer) -> Self {
        let text = match facts.read(STACK) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Nothing { loaded: false },
            Err(error) => return Self::Unreadable(error.to_string()),
        };
        let number = layer.number.map(|number| number.to_string());
        let text = String::from_utf8_lossy(&text);
        let mut stacks = text.lines().filter_map(|line| line.split_once('='));
        let functions = stacks.find(|(stack, _)| Some(*stack) == number.as_deref()).map(|(_, functions)| functions);
        let functions = functions.map(|functions| functions.split(',').filter_map(|name| name.trim().parse().ok()));
        functions.map_or(Self::Nothing { loaded: true }, |functions| Self::Functions(functions.collect()))
    }
}

/// Whether root has named it, so that it need not be asked to.
pub(super) fn is_named(source: &Source, layer: &Layer) -> bool {
    matches!(Told::read(source.machine().facts(), layer), Told::Functions(_))
}

/// What of the module's way to a stack is lacking, if it could go there at all.
pub(super) fn finding(source: &Source, layer: &Layer) -> Option<Finding> {
    let line = line(source.stack(), layer)?;
    let named = format!("`echo {line} >{STACK}`");
    let (severity, cause, cure, seen) = match Told::read(source.machine().facts(), layer) {
        Told::Functions(told) => return not_all(source, layer, &told, &named),
        Told::Nothing { loaded: true } => (
            Severity::No,
            format!("root has not told the p2pdma_user module what lies below {layer}, so that it refuses it"),
            format!("have root run {named}"),
            "does not name it",
        ),
        Told::Nothing { loaded: false } => (
            Severity::No,
            format!("the p2pdma_user module goes to {layer} only after root has told it what lies below"),
            format!("have root run `modprobe p2pdma_user`, then {named}"),
            "not there",
        ),
        Told::Unreadable(why) => (
            Severity::Unknown,
            format!("whether root has told the p2pdma_user module what lies below {layer} cannot be read ({why})"),
            format!("look as root; or try it (`p2pbench run --way module`); if it is refused, have root run {named}"),
            "cannot be read",
        ),
    };
    let finding = Finding::new(What::StackNotNamed, severity, Refusal::new(source, cause, cure));
    Some(finding.only(Way::Module).seen([Evidence::new(STACK, seen)]))
}

/// The module asks for the routes of those that it was told, and of no others.
fn not_all(source: &Source, layer: &Layer, told: &[Address], named: &str) -> Option<Finding> {
    let left_out = source.stack().functions().into_iter().filter(|function| !told.contains(function));
    let left_out = left_out.map(|function| function.to_string()).collect::<Vec<_>>().join(", ");
    let cause =
        format!("root has not named {left_out}, which lies below {layer} too: the module does not ask for its route");
    let refusal = Refusal::new(source, cause, format!("have root run {named}"));
    let told = told.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let finding = Finding::new(What::StackNotNamed, Severity::Warning, refusal).only(Way::Module);
    (!left_out.is_empty()).then(|| finding.seen([Evidence::new(STACK, told)]))
}
