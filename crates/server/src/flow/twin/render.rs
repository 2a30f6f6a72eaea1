//! Which files shall each device have now? Worked out by a worker, safe to repeat at any time.

use std::collections::BTreeMap;

use muster_domain::Device;
use muster_domain::configuration::render::{CannotRender, Facts, Renderer};
use muster_domain::configuration::twin::{Twin, settle};
use muster_domain::configuration::{Configuration, File};
use muster_domain::device::DeviceState;
use muster_store::{Cursor, StoreError, Tx, View};
use muster_vocab::selector::{Field, Selector, eval::Found};
use muster_vocab::{DeviceId, ProjectId, Sha256, Timestamp, limit};
use sha2::Digest;

use super::super::error::FlowError;
use super::super::rollouts::device_selector;

/// A project's configurations, read once for many devices.
#[derive(Debug)]
pub struct Catalogue {
    project: ProjectId,
    project_name: String,
    entries: Vec<(Selector, Configuration)>,
    renderer: Renderer,
    /// Names and versions.
    secrets: BTreeMap<String, u64>,
}

/// What a device gets, or why it gets nothing.
#[derive(Debug)]
pub struct Rendered {
    /// The names of the configurations that match.
    pub configurations: Vec<String>,
    pub files: Result<Vec<File>, CannotRender>,
}

impl Catalogue {
    pub fn read(view: &View<'_>, project: ProjectId) -> Result<Self, FlowError> {
        let all = view.configurations(project, Cursor(0), limit::CONFIGURATIONS_PER_PROJECT_MAX)?;
        let mut catalogue = Self {
            project,
            project_name: view.project(project)?.name,
            entries: Vec::with_capacity(all.rows.len()),
            renderer: Renderer::default(),
            secrets: view.secret_versions(project)?,
        };
        for configuration in all.rows {
            catalogue.replace(configuration)?;
        }
        Ok(catalogue)
    }

    /// As if this one had been saved.
    pub fn replace(&mut self, new: Configuration) -> Result<(), FlowError> {
        let select = device_selector("select", &new.spec.select)?;
        self.entries.retain(|(_, known)| known.name != new.name);
        self.entries.push((select, new));
        Ok(())
    }

    pub fn render(&self, view: &View<'_>, device: &Device, now: Timestamp) -> Result<Rendered, FlowError> {
        let release = match device.installed {
            Some(installed) => Some(view.release_label(self.project, installed.release)?),
            None => None,
        };
        let is_selected = |select: &Selector| selects(select, device, release.as_deref(), now);
        let matching: Vec<&Configuration> =
            self.entries.iter().filter(|(select, _)| is_selected(select)).map(|(_, one)| one).collect();
        let facts = Facts {
            device: &device.name,
            project: &self.project_name,
            labels: &device.labels,
            attributes: &device.attributes,
            secrets: &self.secrets,
        };
        let files = self.renderer.render(&matching, &facts);
        Ok(Rendered { configurations: matching.into_iter().map(|one| one.name.clone()).collect(), files })
    }

    /// What the device's twin becomes, and the files if they change.
    fn settled(&self, view: &View<'_>, device: &Device, now: Timestamp) -> Result<(Twin, Twin, Vec<File>), FlowError> {
        let before = view.twin(self.project, device.id)?;
        let (outcome, files) = match self.render(view, device, now)?.files {
            Ok(files) if files.is_empty() => (Ok(None), files),
            Ok(files) => (Ok(Some(digest(&files)?)), files),
            Err(cannot) => (Err(cannot.to_string()), Vec::new()),
        };
        let after = settle(&before, outcome);
        Ok((before, after, files))
    }

    /// Of some devices, those whose twin is out of date: so that nothing is written where nothing changes.
    pub fn outdated(&self, view: &View<'_>, some: &[DeviceId], now: Timestamp) -> Result<Vec<DeviceId>, FlowError> {
        let mut outdated = Vec::new();
        for id in some {
            let device = match view.device_by_id(self.project, *id) {
                Err(StoreError::NoDevice(_)) => continue,
                found => found?,
            };
            let (before, after, _) = self.settled(view, &device, now)?;
            if before != after {
                outdated.push(*id);
            }
        }
        Ok(outdated)
    }
}

/// Renders some devices anew.
pub fn settle_some(tx: &mut Tx<'_>, now: Timestamp, project: ProjectId, some: &[DeviceId]) -> Result<(), FlowError> {
    let catalogue = Catalogue::read(tx, project)?;
    for id in some {
        tx.delete_render_due(*id)?;
        let device = match tx.device_by_id(project, *id) {
            Err(StoreError::NoDevice(_)) => continue,
            found => found?,
        };
        if device.state != DeviceState::Accepted {
            continue;
        }
        let (before, after, files) = catalogue.settled(tx, &device, now)?;
        if before == after {
            continue;
        }
        let changed = (before.version, before.digest) != (after.version, after.digest);
        tx.save_twin(project, *id, &after, changed.then_some(&files))?;
        super::tell(tx, now, project, (*id, after.state()))?;
    }
    Ok(())
}

fn digest(files: &[File]) -> Result<Sha256, FlowError> {
    let bytes = serde_json::to_vec(files);
    let bytes = bytes.map_err(|bad| FlowError::Conflict(format!("the rendered files can't be written down: {bad}")))?;
    Ok(Sha256(sha2::Sha256::digest(&bytes).into()))
}

/// What the store would answer for one device at hand.
fn selects(select: &Selector, device: &Device, release: Option<&str>, now: Timestamp) -> bool {
    select.matches(now, |field| match field {
        Field::Label(key) => device.labels.get(key).map(|value| Found::Text(value)),
        Field::Attribute(key) => device.attributes.get(key).map(|value| Found::Text(value)),
        Field::Builtin("name") => Some(Found::Text(&device.name)),
        Field::Builtin("state") => Some(Found::Text(super::super::devices::state_name(device.state))),
        Field::Builtin("release") => release.map(Found::Text),
        Field::Builtin("created_at") => Some(Found::Time(device.created_at)),
        Field::Builtin("last_seen") => device.last_seen.map(Found::Time),
        Field::Builtin(_) => None,
    })
}
