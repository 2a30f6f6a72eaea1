# A device that another rollout has moved on meanwhile is left where it is.
fleet 2 devices
start waves rest
> r-1: Wave 1 of 1: 0 of 2 devices succeeded, 0 failed, 2 to go.
devices 1-2 succeed
> r-1: Finished: 2 of 2 devices succeeded.
start waves rest, release 1.2
> r-2: Wave 1 of 1: 0 of 2 devices succeeded, 0 failed, 2 to go.
device 1 fetches
roll back r-1 by bob
> r-1: Rolling back: ordered by bob. 0 of 2 devices are back.
why device 1
> [waits_for_action] device 1 waits for its turn: action 3 of r-2 (fw@1.2, priority 500) goes first.
> [installing] device 1 works on fw@1.2. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [took_before_rollback] device 1 took fw@1.1 (before: fw@1.0); the rollout was rolled back: ordered by bob.
device 1 succeeds
> r-2: Wave 1 of 1: 1 of 2 devices succeeded, 0 failed, 1 to go.
device 2 succeeds
> r-1: Rolled back: ordered by bob. 1 of 2 devices are back on their previous release.
why device 1
> [canceled] fw@1.0 was canceled on device 1: the device took a newer action instead.
> [done] device 1 went from fw@1.1 to fw@1.2.
> [took_before_rollback] device 1 took fw@1.1 (before: fw@1.0); the rollout was rolled back: ordered by bob.
device 2 succeeds
> r-2: Finished: 2 of 2 devices succeeded.
what runs
> 2 devices run fw@1.2
