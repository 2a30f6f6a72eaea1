//! Which fields may a selector name, for each kind of thing that can be listed?

/// The fields of one kind of thing.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// In the plural, for messages: "releases have no labels".
    pub things: &'static str,
    pub fields: &'static [(&'static str, FieldKind)],
    /// Whether `label.KEY` may be used.
    pub labels: bool,
    /// Whether `attribute.KEY` may be used.
    pub attributes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Number,
    Time,
    /// One of these words.
    Choice(&'static [&'static str]),
}

const DEVICE_STATES: &[&str] =
    &["accepted", "pending", "rejected", "quarantined", "retiring", "retired", "transferred"];

pub const DEVICE_SCHEMA: Schema = Schema {
    things: "devices",
    fields: &[
        ("name", FieldKind::Text),
        ("state", FieldKind::Choice(DEVICE_STATES)),
        ("release", FieldKind::Text),
        ("last_seen", FieldKind::Time),
        ("created_at", FieldKind::Time),
    ],
    labels: true,
    attributes: true,
};

pub const ACTION_SCHEMA: Schema = Schema {
    things: "actions",
    fields: &[
        ("device", FieldKind::Text),
        ("rollout", FieldKind::Text),
        ("wave", FieldKind::Number),
        ("state", FieldKind::Choice(ACTION_STATES)),
        ("release", FieldKind::Text),
        ("created_at", FieldKind::Time),
        ("changed_at", FieldKind::Time),
    ],
    labels: false,
    attributes: false,
};

pub const ROLLOUT_SCHEMA: Schema = Schema {
    things: "rollouts",
    fields: &[
        ("name", FieldKind::Text),
        ("state", FieldKind::Choice(ROLLOUT_STATES)),
        ("release", FieldKind::Text),
        ("created_at", FieldKind::Time),
        ("created_by", FieldKind::Text),
    ],
    labels: false,
    attributes: false,
};

pub const RELEASE_SCHEMA: Schema = Schema {
    things: "releases",
    fields: &[
        ("name", FieldKind::Text),
        ("version", FieldKind::Text),
        ("state", FieldKind::Choice(&["draft", "published", "yanked"])),
        ("created_at", FieldKind::Time),
    ],
    labels: false,
    attributes: false,
};

pub const ARTIFACT_SCHEMA: Schema = Schema {
    things: "artifacts",
    fields: &[
        ("name", FieldKind::Text),
        ("size", FieldKind::Number),
        ("digest", FieldKind::Text),
        ("created_at", FieldKind::Time),
    ],
    labels: false,
    attributes: false,
};

pub const TOKEN_SCHEMA: Schema = Schema {
    things: "tokens",
    fields: &[
        ("name", FieldKind::Text),
        ("account", FieldKind::Text),
        ("expires_at", FieldKind::Time),
        ("created_at", FieldKind::Time),
        ("last_used_at", FieldKind::Time),
    ],
    labels: false,
    attributes: false,
};

pub const AUDIT_SCHEMA: Schema = Schema {
    things: "audit records",
    fields: &[
        ("at", FieldKind::Time),
        ("actor", FieldKind::Text),
        ("action", FieldKind::Text),
        ("target", FieldKind::Text),
        ("authority", FieldKind::Text),
        ("request", FieldKind::Text),
        ("reason", FieldKind::Text),
    ],
    labels: false,
    attributes: false,
};

const ACTION_STATES: &[&str] = &[
    "scheduled",
    "queued",
    "awaiting_confirmation",
    "offered",
    "running",
    "canceling",
    "finished",
    "downloaded",
    "failed",
    "lost",
    "canceled",
];

const ROLLOUT_STATES: &[&str] = &[
    "draft",
    "awaiting_approval",
    "denied",
    "ready",
    "filling",
    "running",
    "paused",
    "rolling_back",
    "rolled_back",
    "aborting",
    "aborted",
    "finished",
];
