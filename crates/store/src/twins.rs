//! What each device shall have, what it said that it has, and which devices are to be looked at again.

use muster_domain::configuration::File;
use muster_domain::configuration::twin::Twin;
use muster_vocab::{DeviceId, ProjectId, Sha256};
use rusqlite::{OptionalExtension, Row};

use crate::error::Doing;
use crate::{StoreError, Tx, View};

impl View<'_> {
    /// Of a device that never had any: version 0.
    pub fn twin(&self, project: ProjectId, device: DeviceId) -> Result<Twin, StoreError> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT version, digest, error, reported FROM twin WHERE project_id = ?1 AND device_id = ?2",
            )
            .and_then(|mut it| it.query_row((project.0, device.0), |row| Ok(read(row))).optional())
            .doing("a twin")?;
        found.transpose().map(Option::unwrap_or_default)
    }

    /// The files of the twin's version.
    pub fn rendered_files(&self, project: ProjectId, device: DeviceId) -> Result<Vec<File>, StoreError> {
        let files: Option<String> = self
            .conn
            .prepare_cached("SELECT files FROM twin WHERE project_id = ?1 AND device_id = ?2")
            .and_then(|mut it| it.query_row((project.0, device.0), |row| row.get(0)).optional())
            .doing("a device's files")?;
        files.map_or_else(|| Ok(Vec::new()), |files| serde_json::from_str(&files).doing("a device's files"))
    }

    /// Devices that are to be rendered again.
    pub fn due_renders(&self, limit: u32) -> Result<Vec<(ProjectId, DeviceId)>, StoreError> {
        self.conn
            .prepare_cached("SELECT project_id, device_id FROM render_due ORDER BY project_id, device_id LIMIT ?1")
            .and_then(|mut it| {
                it.query_map([limit], |row| Ok((ProjectId(row.get(0)?), DeviceId(row.get(1)?))))?.collect()
            })
            .doing("devices to render")
    }

    /// Projects all of whose devices are to be rendered again, and after which device it goes on.
    pub fn render_sweeps(&self) -> Result<Vec<(ProjectId, DeviceId)>, StoreError> {
        self.conn
            .prepare_cached("SELECT project_id, after_device_id FROM render_sweep ORDER BY project_id")
            .and_then(|mut it| it.query_map([], |row| Ok((ProjectId(row.get(0)?), DeviceId(row.get(1)?))))?.collect())
            .doing("projects to render")
    }

    /// A project's next accepted devices.
    pub fn accepted_after(&self, project: ProjectId, after: DeviceId, limit: u32) -> Result<Vec<DeviceId>, StoreError> {
        self.conn
            .prepare_cached(
                "SELECT id FROM device WHERE project_id = ?1 AND state = 'accepted' AND id > ?2 ORDER BY id LIMIT ?3",
            )
            .and_then(|mut it| it.query_map((project.0, after.0, limit), |row| row.get(0).map(DeviceId))?.collect())
            .doing("accepted devices")
    }
}

impl Tx<'_> {
    /// `files`: of the twin's version; left out, they stay.
    pub fn save_twin(
        &mut self,
        project: ProjectId,
        device: DeviceId,
        twin: &Twin,
        files: Option<&[File]>,
    ) -> Result<(), StoreError> {
        let what = "a twin";
        let files = files.map(serde_json::to_string).transpose().doing(what)?;
        let reported = twin.reported.as_ref().map(serde_json::to_string).transpose().doing(what)?;
        self.conn
            .prepare_cached(
                "INSERT INTO twin (device_id, project_id, version, digest, files, error, reported, wanted)
                 VALUES (?1, ?2, ?3, ?4, coalesce(?5, '[]'), ?6, ?7, ?8)
                 ON CONFLICT (device_id) DO UPDATE SET version = excluded.version, digest = excluded.digest,
                 files = coalesce(?5, twin.files), error = excluded.error, reported = excluded.reported,
                 wanted = excluded.wanted",
            )
            .and_then(|mut it| {
                it.execute((
                    device.0,
                    project.0,
                    twin.version.cast_signed(),
                    twin.digest.map(|digest| digest.0),
                    files,
                    &twin.error,
                    reported,
                    twin.wanted().is_some(),
                ))
            })
            .doing(what)?;
        self.touch_device(device);
        Ok(())
    }

    /// What a device's files are made of has changed. Nothing in projects without configurations.
    pub fn render_again(&mut self, project: ProjectId, device: DeviceId) -> Result<(), StoreError> {
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO render_due (device_id, project_id)
                 SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM configuration WHERE project_id = ?2)
                 ON CONFLICT DO NOTHING",
            )
            .and_then(|mut it| it.execute((device.0, project.0)))
            .doing("a device to render")?;
        self.own.renders |= added > 0;
        Ok(())
    }

    pub fn delete_render_due(&mut self, device: DeviceId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("DELETE FROM render_due WHERE device_id = ?1")
            .and_then(|mut it| it.execute([device.0]))
            .doing("a device that was rendered")?;
        Ok(())
    }

    /// All devices of the project are to be looked at, from the first. Each beginning has a place of its own below all
    /// devices: who is in the middle of one sees that it began again, also if it had not come far.
    pub fn begin_render_sweep(&mut self, project: ProjectId) -> Result<(), StoreError> {
        self.own.renders = true;
        self.conn
            .prepare_cached(
                "INSERT INTO render_sweep (project_id, after_device_id) VALUES (?1, 0)
                 ON CONFLICT (project_id) DO UPDATE SET after_device_id = min(render_sweep.after_device_id, 0) - 1",
            )
            .and_then(|mut it| it.execute([project.0]))
            .doing("a project to render")?;
        Ok(())
    }

    pub fn save_render_sweep(&mut self, project: ProjectId, after: DeviceId) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO render_sweep (project_id, after_device_id) VALUES (?1, ?2)
                 ON CONFLICT (project_id) DO UPDATE SET after_device_id = excluded.after_device_id",
            )
            .and_then(|mut it| it.execute((project.0, after.0)))
            .doing("a project to render")?;
        Ok(())
    }

    pub fn end_render_sweep(&mut self, project: ProjectId) -> Result<(), StoreError> {
        self.conn
            .execute("DELETE FROM render_sweep WHERE project_id = ?1", [project.0])
            .doing("a project that was rendered")?;
        Ok(())
    }

    /// The device is gone.
    pub(crate) fn delete_twin(&mut self, device: DeviceId) -> Result<(), StoreError> {
        for table in ["twin", "render_due"] {
            self.conn
                .execute(&format!("DELETE FROM {table} WHERE device_id = ?1"), [device.0])
                .doing("deleting a twin")?;
        }
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<Twin, StoreError> {
    let what = "a twin";
    let reported: Option<String> = row.get(3).doing(what)?;
    Ok(Twin {
        version: row.get::<_, i64>(0).doing(what)?.cast_unsigned(),
        digest: row.get::<_, Option<[u8; 32]>>(1).doing(what)?.map(Sha256),
        error: row.get(2).doing(what)?,
        reported: reported.as_deref().map(serde_json::from_str).transpose().doing(what)?,
    })
}

#[cfg(test)]
mod tests {
    use muster_domain::configuration::twin::{Reported, ReportedState, settle};
    use muster_domain::configuration::{Configuration, Spec};
    use muster_domain::device::{Device, DeviceState};

    use super::*;
    use crate::devices::NewDevice;
    use crate::sample::{NOW, store};

    fn file(content: &str) -> File {
        File {
            path: "/etc/a".into(),
            content: content.into(),
            mode: Some("0644".into()),
            owner: None,
            validate: vec!["true".into()],
            reload: Vec::new(),
        }
    }

    fn configuration(name: &str) -> Configuration {
        let spec = Spec { select: "all".into(), priority: 7, files: vec![file("{{ device }}")] };
        Configuration {
            name: name.into(),
            spec,
            created_at: NOW,
            updated_at: NOW,
            updated_by: "account:ann".into(),
            revision: 1,
        }
    }

    fn device(tx: &mut Tx<'_>, project: ProjectId, name: &str) -> DeviceId {
        let new = NewDevice { name: name.into(), state: DeviceState::Accepted, token: None, poll_interval_s: 0 };
        tx.insert_device(project, &new, NOW).unwrap()
    }

    #[test]
    fn a_twin_reads_back_and_another_project_sees_nothing_of_it() {
        let (store, _folder) = store();
        let (project, other, device) = store
            .writer()
            .write::<_, StoreError>(|tx| {
                let (project, other) = (tx.insert_project("one", NOW)?, tx.insert_project("two", NOW)?);
                let id = device(tx, project, "sn-1");
                let twin = settle(&Twin::default(), Ok(Some(Sha256([7; 32]))));
                tx.save_twin(project, id, &twin, Some(&[file("x")]))?;
                let reported =
                    Reported { version: 1, state: ReportedState::Drifted, messages: vec!["/etc/a".into()], at: NOW };
                tx.save_twin(project, id, &Twin { reported: Some(reported), ..twin }, None)?;
                Ok((project, other, id))
            })
            .unwrap();
        store
            .read::<_, StoreError>(|view| {
                let twin = view.twin(project, device)?;
                assert_eq!((twin.version, twin.digest, twin.wanted()), (1, Some(Sha256([7; 32])), None));
                assert_eq!(twin.reported.unwrap().state, ReportedState::Drifted);
                assert_eq!(view.rendered_files(project, device)?, [file("x")], "left out, the files stay");
                assert_eq!(view.twin(other, device)?, Twin::default());
                assert_eq!(view.rendered_files(other, device)?, []);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn the_standing_tells_whether_the_device_has_something_to_fetch() {
        let (store, _folder) = store();
        let told = |wanted: bool| {
            let twin = if wanted { settle(&Twin::default(), Ok(Some(Sha256([1; 32])))) } else { Twin::default() };
            store
                .writer()
                .write::<_, StoreError>(move |tx| {
                    let name = format!("p{wanted}");
                    let project = tx.insert_project(&name, NOW)?;
                    let id = device(tx, project, "sn-1");
                    tx.save_twin(project, id, &twin, None)?;
                    Ok(tx.standing(id)?.unwrap().twin)
                })
                .unwrap()
        };
        assert_eq!((told(true), told(false)), (true, false));
    }

    #[test]
    fn only_in_projects_with_configurations_are_changed_devices_rendered_again() {
        let (store, _folder) = store();
        store
            .writer()
            .write::<_, StoreError>(|tx| {
                let (with, without) = (tx.insert_project("one", NOW)?, tx.insert_project("two", NOW)?);
                tx.save_configuration(with, &configuration("a"))?;
                for project in [with, without] {
                    let id = device(tx, project, "sn-1");
                    let found = tx.device_by_id(project, id)?;
                    tx.save_labels(project, &Device { labels: [("a".into(), "b".into())].into(), ..found })?;
                }
                let due = tx.due_renders(10)?;
                assert_eq!(due.len(), 1);
                assert_eq!(due[0].0, with);
                tx.delete_render_due(due[0].1)?;
                assert_eq!(tx.due_renders(10)?, []);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_configuration_reads_back_with_its_revision() {
        let (store, _folder) = store();
        store
            .writer()
            .write::<_, StoreError>(|tx| {
                let (project, other) = (tx.insert_project("one", NOW)?, tx.insert_project("two", NOW)?);
                for name in ["a", "b", "a"] {
                    tx.save_configuration(project, &configuration(name))?;
                }
                assert_eq!(tx.configuration(project, "a")?, Configuration { revision: 2, ..configuration("a") });
                let first = tx.configurations(project, crate::Cursor(0), 1)?;
                let rest = tx.configurations(project, first.next.unwrap(), 1)?;
                assert_eq!((first.rows[0].name.as_str(), rest.rows[0].name.as_str()), ("a", "b"));
                assert_eq!((rest.next, tx.count_configurations(project)?), (None, 2));
                assert!(matches!(tx.configuration(other, "a"), Err(StoreError::Missing { .. })));
                tx.delete_configuration(other, "a")?;
                assert!(tx.configuration(project, "a").is_ok());
                tx.delete_configuration(project, "a")?;
                assert!(tx.configuration(project, "a").is_err());
                Ok(())
            })
            .unwrap();
    }
}
