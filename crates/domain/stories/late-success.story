# Two devices are in mid-install when the rollout is rolled back. One finishes all the same, the other says nothing
# for a day and then turns out to have installed it: both are brought back.
fleet 10 devices
start waves 3 7, allow 0 failures, roll back on error
> r-1: Wave 1 of 2: 0 of 3 devices succeeded, 0 failed. Wave 2 opens at 3 succeeded; more than 0 failed stop it.
devices 1-2 fetch
device 3 fails: bad signature
> r-1: Rolling back: 1 failed in wave 1, 0 allowed. 0 of 0 devices are back.
why device 1
> [waits_for_cancel] device 1 was asked to stop fw@1.1 (its rollout was rolled back) and has not answered.
device 1 succeeds
> r-1: Rolling back: 1 failed in wave 1, 0 allowed. 0 of 1 devices are back.
why device 1
> [waits_for_device] fw@1.0 (the way back) is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [took_before_rollback] device 1 took fw@1.1 (before: fw@1.0); the rollout was rolled back: 1 failed in wave 1, 0 allowed.
device 1 succeeds
> r-1: Rolling back: 1 failed in wave 1, 0 allowed. 1 of 1 devices are back.
after 24h
> r-1: Rolled back: 1 failed in wave 1, 0 allowed. 1 of 1 devices are back on their previous release.
why device 2
> [canceled] fw@1.1 was canceled on device 2: its rollout was rolled back, and the device has not confirmed that it stopped.
device 2 works
> refused: the action is closed
device 2 succeeds
> r-1: Rolling back: 1 failed in wave 1, 0 allowed. 1 of 2 devices are back.
why device 2
> [waits_for_device] fw@1.0 (the way back) is on offer, and device 2 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-20T11:06:40.000Z.
> [took_before_rollback] device 2 took fw@1.1 (before: fw@1.0); the rollout was rolled back: 1 failed in wave 1, 0 allowed.
device 2 succeeds
> r-1: Rolled back: 1 failed in wave 1, 0 allowed. 2 of 2 devices are back on their previous release.
what runs
> 10 devices run fw@1.0
