//! Can this order be carried out on this device? Everything that can be known is checked before anything is touched.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use muster_vocab::limit;
use muster_wire::agent::{Component, Deployment, Form};

use super::Agent;
use crate::install::Job;
use crate::machine::Input;
use crate::state::{Fetching, Installed, Part};
use crate::version;
use crate::world::World;

impl Agent {
    pub(super) fn consider(&self, world: &dyn World) -> Input {
        let Some(update) = &self.state.update else { return Input::Refuse(vec!["there is no order".into()]) };
        match self.parts(world, &update.order) {
            Ok(parts) => Input::Accept(parts),
            Err(why) => Input::Refuse(vec![why]),
        }
    }

    fn parts(&self, world: &dyn World, order: &Deployment) -> Result<Vec<Part>, String> {
        if order.components.is_empty() || order.components.len() > limit::COMPONENTS_PER_RELEASE_MAX {
            return Err(format!("a release has 1 to {} components", limit::COMPONENTS_PER_RELEASE_MAX));
        }
        let mut parts = Vec::new();
        for index in in_order(&order.components)? {
            let component = &order.components[index];
            check_component(component)?;
            let previous = self.state.installed.get(&component.name);
            if previous.is_some_and(|previous| is_same(previous, component)) {
                continue;
            }
            if !order.downgrade {
                check_direction(component, previous)?;
            }
            parts.push(self.part(world, (index, component), previous)?);
        }
        self.check_space(world, order, &parts)?;
        Ok(parts)
    }

    fn part(&self, world: &dyn World, of: (usize, &Component), previous: Option<&Installed>) -> Result<Part, String> {
        let (index, component) = of;
        let name = &component.name;
        let installer = self.installers.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.installers.keys().map(String::as_str).collect();
            format!("this device has no component {name}; its agent is set up for {}", known.join(", "))
        })?;
        let job = Job { component, previous, note: "" };
        let note = installer.plan(world, job).map_err(|why| format!("component {name}: {}", why.sentence()))?;
        Ok(Part {
            component: index,
            previous: previous.cloned(),
            note,
            artifacts: component.artifacts.iter().map(|_| Fetching::default()).collect(),
            is_staged: false,
            restarts: false,
        })
    }

    /// What is written into files, and not into slots of their own, has to fit with a reserve.
    fn check_space(&self, world: &dyn World, order: &Deployment, parts: &[Part]) -> Result<(), String> {
        let mut needed: u64 = 0;
        for part in parts {
            let component = &order.components[part.component];
            let installer = &self.installers[&component.name];
            let job = Job { component, previous: part.previous.as_ref(), note: &part.note };
            for (index, artifact) in component.artifacts.iter().enumerate() {
                let place = installer
                    .place(world, job, index)
                    .map_err(|why| format!("component {}: {}", component.name, why.sentence()))?;
                if artifact.size > place.bytes_max {
                    let (name, size, most) = (&component.name, artifact.size, place.bytes_max);
                    return Err(format!("component {name}: {size} bytes don't fit where {most} do"));
                }
                let is_fixed = world.disk().size(&place.path).is_ok_and(|size| size >= artifact.size);
                needed = needed.saturating_add(if is_fixed { 0 } else { artifact.size });
            }
        }
        let free = free_bytes(world, &self.settings.folder);
        let wanted = needed.saturating_add(self.settings.reserve_bytes);
        if needed > 0 && free < wanted {
            return Err(format!(
                "{needed} bytes and a reserve of {} don't fit in the {free} that are free",
                self.settings.reserve_bytes
            ));
        }
        Ok(())
    }
}

/// A file system that doesn't say how much is free is tried.
fn free_bytes(world: &dyn World, folder: &Path) -> u64 {
    world.disk().free_bytes(folder).unwrap_or(u64::MAX)
}

fn is_same(installed: &Installed, component: &Component) -> bool {
    installed.version == component.version
        && installed.digests.len() == component.artifacts.len()
        && installed.digests.iter().zip(&component.artifacts).all(|(digest, artifact)| *digest == artifact.digest)
}

fn check_direction(component: &Component, previous: Option<&Installed>) -> Result<(), String> {
    match previous {
        Some(previous) if version::compare(&component.version, &previous.version) == Ordering::Less => Err(format!(
            "component {}: {} is older than {}, which runs; a way back has to be ordered as one (--allow-downgrade)",
            component.name, component.version, previous.version
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_component(component: &Component) -> Result<(), String> {
    let name = &component.name;
    if component.artifacts.is_empty() || component.artifacts.len() > limit::ARTIFACTS_PER_COMPONENT_MAX {
        return Err(format!("component {name} has 1 to {} artifacts", limit::ARTIFACTS_PER_COMPONENT_MAX));
    }
    for artifact in &component.artifacts {
        let file = &artifact.file_name;
        let is_plain = !file.is_empty()
            && file.chars().count() <= limit::FILE_NAME_CHARS_MAX
            && file != "."
            && file != ".."
            && !file.chars().any(|c| c.is_control() || c == '/' || c == '\\');
        if !is_plain {
            return Err(format!("component {name}: {file:?} is not a plain file name"));
        }
        if artifact.size > limit::ARTIFACT_BYTES_MAX {
            return Err(format!("component {name}: {file} has more than {} bytes", limit::ARTIFACT_BYTES_MAX));
        }
        let whole = artifact.routes.iter().find(|route| route.form == Form::Whole);
        if whole.is_none_or(|whole| whole.size != artifact.size) {
            return Err(format!("component {name}: there is no way to get {file} whole"));
        }
        if artifact.routes.iter().any(|route| !route.path.starts_with('/') || route.path.contains("..")) {
            return Err(format!("component {name}: {file} is offered at a place that isn't the server's"));
        }
    }
    Ok(())
}

/// The order in which components go: each behind those that its `after` names.
fn in_order(components: &[Component]) -> Result<Vec<usize>, String> {
    let index_of: BTreeMap<&str, usize> =
        components.iter().enumerate().map(|(index, component)| (component.name.as_str(), index)).collect();
    if index_of.len() != components.len() {
        return Err("a component appears twice in the release".into());
    }
    let mut waits_for: Vec<Vec<usize>> = Vec::new();
    for component in components {
        let names = component.metadata.get("after").map(String::as_str).unwrap_or_default();
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        // What this release doesn't have is there already.
        waits_for.push(names.filter_map(|name| index_of.get(name).copied()).collect());
    }
    let mut order: Vec<usize> = Vec::new();
    while order.len() < components.len() {
        let is_next =
            |index: &usize| !order.contains(index) && waits_for[*index].iter().all(|other| order.contains(other));
        let Some(next) = (0..components.len()).find(is_next) else {
            let stuck = (0..components.len()).filter(|index| !order.contains(index));
            let names: Vec<&str> = stuck.map(|index| components[index].name.as_str()).collect();
            return Err(format!("components {} wait for each other", names.join(", ")));
        };
        order.push(next);
    }
    Ok(order)
}
