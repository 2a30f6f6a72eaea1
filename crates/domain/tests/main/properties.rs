//! What holds in every world, whatever devices and people do?

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::action::{Action, ActionState, EndReason, Input as ActionInput, Push};
use muster_domain::rollout::gate;
use muster_domain::rollout::spec::{Advance, OnError, Spec, Take, Threshold, WaveSpec};
use muster_domain::rollout::step::{Input, Refused};
use muster_domain::rollout::step::{Move, waiting_waves};
use muster_domain::rollout::{self, Clearance, Phase, Rollout, text};
use muster_domain::window::Window;
use muster_vocab::{ActionId, DeviceId, ReleaseId, RolloutId};
use proptest::prelude::*;

use crate::field::{Chance, Field, Temper};
use crate::referee::check_devices;
use crate::world::{T0, World, person};

const STEPS: usize = 250;

fn threshold(least: u8) -> impl Strategy<Value = Threshold> {
    prop_oneof![(least..=100).prop_map(Threshold::Percent), (u32::from(least)..4).prop_map(Threshold::Count)]
}

fn wave() -> impl Strategy<Value = WaveSpec> {
    let take = prop_oneof![
        (1_u8..=30).prop_map(Take::Percent),
        (1_u32..4).prop_map(Take::Count),
        Just(Take::Select("odd".into())),
    ];
    let on_error = prop_oneof![Just(OnError::Pause), Just(OnError::RollBack)];
    let soak_s = prop_oneof![3 => Just(0_u32), 1 => Just(7200)];
    let advance = prop_oneof![4 => Just(Advance::Auto), 1 => Just(Advance::Manual)];
    (take, threshold(1), threshold(0), on_error, soak_s, advance).prop_map(
        |(take, success, errors, on_error, soak_s, advance)| WaveSpec {
            take,
            success,
            errors,
            on_error,
            soak_s,
            advance,
        },
    )
}

fn spec() -> impl Strategy<Value = Spec> {
    let push = prop_oneof![4 => Just(Push::Forced), 1 => Just(Push::Soft), 1 => Just(Push::DownloadOnly)];
    let daily = Just(Some("daily 02:00-05:00 Europe/Berlin"));
    let window = prop_oneof![3 => Just(None), 1 => daily, 1 => Just(Some("sat 02:00-05:00 UTC"))];
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.2));
    (proptest::collection::vec(wave(), 1..4), push, window, flags, 0_u16..3).prop_map(
        |(waves, push, window, (start, approval, confirmation, dynamic), priority)| Spec {
            select: String::new(),
            waves,
            push,
            start,
            start_at: None,
            window: window.map(|text| Window::parse(text).expect("it is a window")),
            approval,
            confirmation,
            priority,
            dynamic,
            allow_downgrade: false,
            silence_s: 24 * 3600,
        },
    )
}

fn temper() -> impl Strategy<Value = Temper> {
    let kind = prop_oneof![Just(0_u64), Just(10), Just(60)];
    (kind.clone(), 0_u64..3, 0_u64..=100, 0_u64..=60, kind).prop_map(
        |(fails, falls_silent, returns, refuses_cancel, denies)| Temper {
            fails,
            falls_silent,
            returns,
            refuses_cancel,
            denies,
        },
    )
}

/// What a person may try, at any time.
fn order(world: &mut World, chance: &mut Chance) {
    let Some(id) = pick(world.rollouts.keys(), chance) else { return };
    let by = person(1 + i64::from(chance.percent(50)), "somebody");
    let input = match chance.below(12) {
        0..=2 => Input::Start,
        3 | 4 => Input::Approve { by: Some(by) },
        5 => Input::Pause { by },
        6 | 7 => Input::Resume,
        8 => Input::NextWave,
        9 if chance.percent(30) => Input::Abort { by },
        10 if chance.percent(50) => Input::RollBack { by },
        _ if chance.percent(20) => Input::Deny { by },
        _ => Input::Tick,
    };
    let before = world.clone();
    if world.tell(id, input).is_err() {
        assert_eq!(world.rollouts, before.rollouts, "a refused order changed something");
        assert_eq!(world.outbox, before.outbox, "a refused order left work");
    }
}

/// An operator's hand on one device.
fn touch(world: &mut World, chance: &mut Chance) {
    let Some(id) = pick(world.actions.keys(), chance) else { return };
    let input = match chance.below(4) {
        0 => ActionInput::Cancel(EndReason::Operator("enough".into())),
        1 => ActionInput::ForceCancel(EndReason::Operator("enough".into())),
        _ => ActionInput::Force,
    };
    let before = world.clone();
    if world.word(id, input).is_err() {
        assert_eq!(world.actions, before.actions, "a refused input changed something");
    }
}

fn pick<'a, T: Copy + 'a>(from: impl ExactSizeIterator<Item = &'a T>, chance: &mut Chance) -> Option<T> {
    let mut from = from;
    let count = from.len() as u64;
    if count == 0 { None } else { from.nth(usize::try_from(chance.below(count)).expect("few things")).copied() }
}

fn run(specs: Vec<Spec>, devices: i64, batch: usize, field: &mut Field) -> World {
    let mut world = World::new(devices, batch);
    world.add_device(None);
    let mut specs = specs.into_iter();
    for step in 0..STEPS {
        if step % 40 == 0
            && let Some(spec) = specs.next()
        {
            let release = ReleaseId(2 + i64::try_from(field.chance.below(3)).expect("few releases"));
            world.add_rollout(release, spec, person(1, "author"));
        }
        match field.chance.below(20) {
            0..=10 => {
                if let Some(device) = pick(world.devices.keys(), &mut field.chance) {
                    field.act(&mut world, device);
                }
            }
            11..=15 => {
                world.carry_out();
            }
            16 => order(&mut world, &mut field.chance),
            17 if field.chance.percent(20) => touch(&mut world, &mut field.chance),
            18 if field.chance.percent(20) => {
                world.add_device(Some(ReleaseId(1)));
                world.join();
            }
            19 => {
                let minutes = field.chance.below(300);
                world.pass(world.now.plus(Duration::from_secs(minutes * 60)));
            }
            _ => repeat_effects(&world),
        }
        check_devices(&world.actions, &world.rollouts);
    }
    world
}

/// Carrying everything out twice is carrying it out once.
fn repeat_effects(world: &World) {
    let mut once = world.clone();
    once.settle();
    let mut twice = once.clone();
    twice.outbox.clone_from(&world.outbox);
    twice.settle();
    assert_eq!(once.actions, twice.actions);
    for (id, rollout) in &once.rollouts {
        assert_eq!(Rollout { revision: 0, ..rollout.clone() }, Rollout { revision: 0, ..twice.rollouts[id].clone() });
    }
}

/// Nobody interferes any more, and the consent that is missing stays missing: until nothing moves.
fn let_go_on(world: &mut World, field: &mut Field) {
    field.temper.falls_silent = 0;
    for _ in 0..3000 {
        world.settle();
        let devices: Vec<DeviceId> = world.devices.keys().copied().collect();
        for device in devices {
            let waits = world.open_of(device).iter().any(|it| it.state == ActionState::AwaitingConfirmation);
            if !waits {
                field.act(world, device);
            }
        }
        world.settle();
        check_devices(&world.actions, &world.rollouts);
        let Some(due) = world.next_due() else { return };
        world.pass(due.min(world.now.plus(Duration::from_secs(1800))));
    }
    panic!("it goes on for ever: {:#?}", world.rollouts);
}

/// It has ended, or it says what it waits for; and so does each device.
fn check_end(world: &World) {
    for rollout in world.rollouts.values() {
        let says = text::describe(rollout, world.now);
        let waits_for = match &rollout.phase {
            phase if phase.has_ended() => continue,
            Phase::Draft => "start it",
            Phase::Ready if !rollout.spec.start => "start it",
            Phase::AwaitingApproval => "approval by somebody other than",
            Phase::Paused { .. } => "Resume or abort it",
            Phase::Running { wave } if usize::from(*wave) + 1 == rollout.waves.len() => "devices that match later",
            Phase::Running { .. } => "by hand with next-wave",
            other => panic!("{} is stuck in {other:?}: {says}", rollout.id),
        };
        assert!(says.contains(waits_for), "{} should name {waits_for:?}, but says: {says}", rollout.id);
    }
    for action in world.actions.values().filter(|action| !action.state.is_terminal()) {
        let phase = &world.rollouts[&action.rollout].phase;
        assert!(!phase.has_ended(), "{} is open although {} has ended", action.id, action.rollout);
        assert_eq!(action.state, ActionState::Scheduled, "{} waits for nothing", action.id);
    }
    for device in world.devices.keys() {
        for reason in world.explain(*device) {
            assert!(reason.text.ends_with('.') || reason.code == "failed", "no sentence: {:?}", reason.text);
        }
    }
}

/// After a rollback, a device runs the release only if it could not go back or got it from elsewhere.
fn check_rollbacks(world: &World) {
    let rolled_back = |id: RolloutId| matches!(world.rollouts[&id].phase, Phase::RolledBack { .. });
    for there in world.actions.values().filter(|it| !it.rollback && rolled_back(it.rollout)) {
        let back: Vec<&Action> = world
            .actions
            .values()
            .filter(|it| it.rollback && it.rollout == there.rollout && it.device == there.device)
            .collect();
        let Some(previous) = there.previous.filter(|_| there.installed) else {
            assert!(back.is_empty(), "{} took nothing and was brought back", there.device);
            continue;
        };
        let last = world.installations.iter().rfind(|it| it.device == there.device).expect("it installed something");
        match back.as_slice() {
            [] => assert_ne!(last.action, there.id, "{} was forgotten", there.device),
            [back] if back.installed => {
                assert_eq!(back.release, previous);
                assert!(last.action != there.id);
                if last.action == back.id {
                    assert_eq!(world.devices[&there.device].installed.expect("it did").release, previous);
                }
            }
            [back] => assert!(back.state.is_terminal(), "{} is still on its way back", there.device),
            _ => panic!("{} was brought back twice", there.device),
        }
    }
}

fn check_installed_once(world: &World) {
    let mut times: BTreeMap<ActionId, usize> = BTreeMap::new();
    for one in &world.installations {
        *times.entry(one.action).or_default() += 1;
        assert_eq!(one.release, world.actions[&one.action].release);
    }
    for device in world.devices.keys() {
        let all: Vec<_> = world.installations.iter().filter(|it| it.device == *device).collect();
        for one in all.iter().filter(|_| all.iter().all(|it| it.in_order)) {
            assert_eq!(world.actions[&one.action].previous, one.before, "{} would go back too far", one.action);
        }
    }
    assert!(times.values().all(|times| *times == 1), "installed twice by one action: {times:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_rules_and_ends_or_says_what_it_waits_for(
        specs in proptest::collection::vec(spec(), 1..4),
        devices in 1_i64..14,
        batch in 1_usize..6,
        temper in temper(),
        seed: u64,
    ) {
        let mut field = Field::new(seed, temper);
        let mut world = run(specs, devices, batch, &mut field);
        let_go_on(&mut world, &mut field);
        check_end(&world);
        check_rollbacks(&world);
        check_installed_once(&world);
    }

    /// Any input in any order, with honest counts: never a panic, and refusals give nothing back to save.
    #[test]
    fn no_order_of_inputs_breaks_a_rollout(spec in spec(), seed: u64) {
        let mut chance = Chance(seed);
        let (now, mut rollout) = (T0, draft(spec));
        let mut parts: Vec<(u16, bool, ActionState)> = Vec::new();
        for _ in 0..200 {
            let input = any_input(&rollout, &parts, &mut chance);
            let Ok((next, _)) = rollout::step::step(&rollout, now.plus(Duration::from_secs(chance.below(9000))), input.clone())
            else { continue };
            book(&mut parts, &input);
            for (at, wave) in next.waves.iter().enumerate() {
                for state in ActionState::ALL {
                    for (back, count) in [(false, wave.counts.of(state)), (true, wave.back.of(state))] {
                        let recount = parts.iter().filter(|it| (usize::from(it.0), it.1, it.2) == (at, back, state)).count();
                        prop_assert_eq!(count as usize, recount);
                    }
                }
            }
            prop_assert!(next.revision == rollout.revision + 1);
            prop_assert!(!text::describe(&next, now).is_empty());
            prop_assert!(next.approved_by.as_ref().is_none_or(|by| by.id != next.author.id));
            rollout = next;
        }
    }

    /// A wave that is judged is judged as the page says, whatever its counts.
    #[test]
    fn a_gate_never_passes_with_too_many_failures(spec in wave(), done in 0_u32..50, failed in 0_u32..50, open in 0_u32..50) {
        let counts = gate::counts(&[
            (ActionState::Finished, done), (ActionState::Failed, failed), (ActionState::Running, open),
        ]);
        let wave = rollout::Wave { counts, ..rollout::Wave::waiting() };
        let verdict = gate::judge(&spec, &wave, T0);
        let too_many = match spec.errors {
            Threshold::Count(count) => failed > count,
            Threshold::Percent(percent) => failed * 100 > (done + failed + open) * u32::from(percent),
        };
        prop_assert_eq!(matches!(verdict, gate::Verdict::TooMany { .. }), too_many);
    }
}

fn draft(spec: Spec) -> Rollout {
    let phase = if spec.approval { Phase::AwaitingApproval } else { Phase::Draft };
    Rollout {
        id: RolloutId(1),
        name: "r".into(),
        release: ReleaseId(2),
        waves: waiting_waves(spec.waves.len()),
        spec,
        phase,
        retry_of: None,
        author: person(1, "author"),
        approved_by: None,
        clearance: Clearance::default(),
        created_at: T0,
        started_at: None,
        revision: 1,
    }
}

fn any_input(rollout: &Rollout, parts: &[(u16, bool, ActionState)], chance: &mut Chance) -> Input {
    let by = person(1 + i64::from(chance.percent(50)), "somebody");
    let wave = u16::try_from(chance.below(rollout.waves.len() as u64)).expect("few waves");
    match chance.below(30) {
        0 => Input::Start,
        1 => Input::Approve { by: Some(by) },
        2 if chance.percent(10) => Input::Deny { by },
        3..=6 => Input::Joined { wave, count: 1 },
        7 => Input::Filled,
        8 => Input::BackMade { wave, count: 1 },
        9 => Input::BackSettled,
        10 | 11 => Input::Tick,
        12 => Input::Pause { by },
        13 => Input::Resume,
        14 if chance.percent(30) => Input::Abort { by },
        15 if chance.percent(30) => Input::RollBack { by },
        16 => Input::NextWave,
        _ => match pick(parts.iter(), chance) {
            Some((wave, back, from)) => {
                let to = ActionState::ALL[usize::try_from(chance.below(11)).expect("few states")];
                Input::Moved(Move { wave, back, from, to, count: 1 })
            }
            None => Input::Tick,
        },
    }
}

fn book(parts: &mut Vec<(u16, bool, ActionState)>, input: &Input) {
    match *input {
        Input::Joined { wave, .. } => parts.push((wave, false, ActionState::Scheduled)),
        Input::BackMade { wave, .. } => parts.push((wave, true, ActionState::Queued)),
        Input::Moved(Move { wave, back, from, to, .. }) => {
            let at = parts.iter().position(|part| *part == (wave, back, from)).expect("it was picked from them");
            parts[at].2 = to;
        }
        _ => {}
    }
}

#[test]
fn an_author_can_not_approve_whatever_account_name_they_use() {
    let mut world = World::new(1, 5);
    let spec = Spec { approval: true, ..crate::story::spec_of(vec![crate::story::plain_wave(Take::Rest)]) };
    let id = world.add_rollout(ReleaseId(2), spec, person(1, "ada"));
    let refused = world.tell(id, Input::Approve { by: Some(person(1, "somebody else")) });
    assert_eq!(refused, Err(Refused::OwnRollout));
    assert_eq!(world.rollouts[&id].phase, Phase::AwaitingApproval);
}
