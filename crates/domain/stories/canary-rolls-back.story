# One of the second wave fails, and every device that took the release goes back.
fleet 40 devices
start waves 1 10 29, allow 0 failures, roll back on error
> r-1: Wave 1 of 3: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 succeeds
> r-1: Wave 2 of 3: 0 of 10 devices succeeded, 0 failed. Wave 3 opens at 10 succeeded; more than 0 failed stop it.
devices 2-5 succeed
> r-1: Wave 2 of 3: 4 of 10 devices succeeded, 0 failed. Wave 3 opens at 10 succeeded; more than 0 failed stop it.
device 6 fetches
device 7 fails: no space left
> r-1: Rolling back: 1 failed in wave 2, 0 allowed. 0 of 5 devices are back.
why device 1
> [waits_for_device] fw@1.0 (the way back) is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [took_before_rollback] device 1 took fw@1.1 (before: fw@1.0); the rollout was rolled back: 1 failed in wave 2, 0 allowed.
why device 6
> [waits_for_cancel] device 6 was asked to stop fw@1.1 (its rollout was rolled back) and has not answered.
device 6 stops
devices 1-4 succeed
> r-1: Rolling back: 1 failed in wave 2, 0 allowed. 4 of 5 devices are back.
device 5 succeeds
> r-1: Rolled back: 1 failed in wave 2, 0 allowed. 5 of 5 devices are back on their previous release.
why device 1
> [rolled_back] device 1 was brought back to fw@1.0. Rolled back: 1 failed in wave 2, 0 allowed. 5 of 5 devices are back on their previous release.
> [took_before_rollback] device 1 took fw@1.1 (before: fw@1.0); the rollout was rolled back: 1 failed in wave 2, 0 allowed.
why device 6
> [canceled] fw@1.1 was canceled on device 6: its rollout was rolled back.
why device 8
> [canceled] fw@1.1 was canceled on device 8: its rollout was rolled back.
what runs
> 40 devices run fw@1.0
roll back by bob
> refused: it is being rolled back already
