//! Did the holders of the keys sign this order? Asked before anything is touched, if the device has a root to ask by.
//!
//! The order's statement – its components, versions, artifacts and counter – has to be a target of a channel that this
//! device follows; where there is a director, its document for this device has to say the same. Documents stay in the
//! folder `metadata`, and with them the versions below which nothing is believed again.

use anyhow::bail;
use muster_trust::tuf::document::{Spelling, Target};
use muster_trust::tuf::statement::{self, SignedArtifact, SignedComponent, Statement};
use muster_trust::tuf::trusted::{DIRECTOR, Trusted};
use muster_vocab::limit;
use muster_wire::agent::{Component, DISTRUSTED, Deployment, SignedBy};

use super::Agent;
use super::talk::CALL_TIMEOUT;
use crate::disk;
use crate::metadata::{Metadata, MetadataError};
use crate::world::{Call, World};

/// By what a device judges orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSettings {
    /// The first root, as it was given when the device was made or joined.
    pub root: std::path::PathBuf,
    /// `project/device`, as the director calls this device.
    pub device: String,
    /// Channels whose releases this device takes; no other channel's keys count for it.
    pub channels: Vec<String>,
}

/// Whether an order is believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Vouched {
    /// With the counter that was signed; 0 if nothing has to be.
    Yes(u64),
    /// It is refused, and the server is told why.
    No(String),
    /// Nothing could be asked; the order waits.
    NotNow(String),
}

impl Agent {
    /// Without a root in the settings every order of the server is believed.
    pub(super) fn vouched(&self, world: &dyn World) -> Vouched {
        let Some(trust) = self.settings.trust.clone() else { return Vouched::Yes(0) };
        let Some(update) = &self.state.update else { return Vouched::Yes(0) };
        match self.judge_order(world, &trust, &update.order) {
            Ok(counter) => Vouched::Yes(counter),
            Err(Doubt::Order(why)) => Vouched::No(format!("{DISTRUSTED}not signed for this device: {why}")),
            Err(Doubt::Metadata(failed @ MetadataError::Refused(_))) => {
                Vouched::No(format!("{DISTRUSTED}{:#}", anyhow::Error::new(failed)))
            }
            Err(Doubt::Metadata(failed)) => Vouched::NotNow(format!("{:#}", anyhow::Error::new(failed))),
        }
    }

    fn judge_order(&self, world: &dyn World, trust: &TrustSettings, order: &Deployment) -> Result<u64, Doubt> {
        let follows = |signed: &&SignedBy| trust.channels.contains(&signed.channel);
        let signed = order.signed.iter().find(follows).ok_or_else(|| {
            Doubt::Order(format!("no channel that this device follows ({}) vouches for it", trust.channels.join(", ")))
        })?;
        if signed.counter < self.state.counter {
            return Err(Doubt::Order(format!(
                "its counter {} is below {}, which this device has reached: a way back has to be signed as a new release",
                signed.counter, self.state.counter
            )));
        }
        let statement = statement(order, signed);
        let folder = self.settings.folder.join("metadata");
        let metadata = Metadata::new(world.disk(), &folder, Spelling::Exact);
        let root = disk::read(world.disk(), &trust.root, limit::API_BODY_BYTES_MAX)
            .map_err(|_| MetadataError::NoRoot(trust.root.clone()))?;
        metadata.begin(&root)?;

        let now = self.link.now(world);
        let ask = &mut |file: &str, bytes_max: u64| ask(world, file, bytes_max);
        let mut session = metadata.refresh(now, ask)?;
        let path = statement::release_path(&signed.channel, &order.release, &order.version);
        session.find(&path);
        metadata.go_on(&mut session, ask)?;
        let role = statement::channel_role(&signed.channel);
        match session.found() {
            Some((target, by)) if by == role => agrees(&statement, target, &path)?,
            _ => return Err(Doubt::Order(format!("the channel {} doesn't vouch for {path}", signed.channel))),
        }
        if session.trusted().has_director() {
            self.ask_director(world, (&metadata, session.trusted()), trust, (&statement, &path))?;
        }
        Ok(signed.counter)
    }

    /// Which release goes to which device is said by another key than which releases there are.
    fn ask_director(
        &self,
        world: &dyn World,
        (metadata, trusted): (&Metadata<'_>, &Trusted),
        trust: &TrustSettings,
        (statement, path): (&Statement, &str),
    ) -> Result<(), Doubt> {
        let file = format!("{DIRECTOR}.json");
        let bytes = ask(world, &file, limit::TUF_TARGETS_BYTES_MAX)
            .map_err(|source| MetadataError::Fetch { file: file.clone(), source })?
            .ok_or_else(|| Doubt::Order("the director says nothing about this device".into()))?;
        let kept = metadata.load(&file);
        let said = trusted
            .take_director(&bytes, &trust.device, kept.as_deref(), self.link.now(world))
            .map_err(MetadataError::Refused)?;
        metadata.keep(&file, &bytes)?;
        let target = said.targets.get(path);
        agrees(statement, target.ok_or_else(|| Doubt::Order(format!("the director doesn't send {path} here")))?, path)
    }
}

enum Doubt {
    Order(String),
    Metadata(MetadataError),
}

impl From<MetadataError> for Doubt {
    fn from(failed: MetadataError) -> Self {
        Self::Metadata(failed)
    }
}

fn agrees(statement: &Statement, target: &Target, path: &str) -> Result<(), Doubt> {
    if statement.is(target) {
        return Ok(());
    }
    Err(Doubt::Order(format!("the order is not what was signed as {path}")))
}

fn statement(order: &Deployment, signed: &SignedBy) -> Statement {
    let component = |component: &Component| SignedComponent {
        name: component.name.clone(),
        version: component.version.clone(),
        metadata: component.metadata.clone(),
        artifacts: component
            .artifacts
            .iter()
            .map(|artifact| SignedArtifact {
                file_name: artifact.file_name.clone(),
                size: artifact.size,
                digest: artifact.digest,
            })
            .collect(),
    };
    Statement {
        release: order.release.clone(),
        version: order.version.clone(),
        counter: signed.counter,
        components: order.components.iter().map(component).collect(),
    }
}

fn ask(world: &dyn World, file: &str, bytes_max: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let path = format!("/device/v1/metadata/{file}");
    let reply = world.net().call(&Call { method: "GET", path: &path, body: None, timeout: CALL_TIMEOUT })?;
    match reply.status {
        200 if reply.body.len() as u64 <= bytes_max => Ok(Some(reply.body)),
        200 => bail!("{file} is longer than {bytes_max} bytes"),
        404 => Ok(None),
        status => bail!("the server answered {status}"),
    }
}
