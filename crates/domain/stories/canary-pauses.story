# The canary fails, and nobody else gets the release.
fleet 40 devices
start waves 1 10 29, allow 0 failures
> r-1: Wave 1 of 3: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 fails: image does not boot
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
why device 1
> [failed] fw@1.1 failed on device 1: image does not boot
why device 2
> [waits_for_person] device 2 is in wave 2 of r-1. Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
next wave
> refused: it is not running
abort by bob
> r-1: Aborted by bob.
why device 2
> [canceled] fw@1.1 was canceled on device 2: its rollout was aborted.
what runs
> 40 devices run fw@1.0
