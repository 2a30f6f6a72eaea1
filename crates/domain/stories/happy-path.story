# A release reaches forty devices in three waves.
fleet 40 devices
start waves 1 10 29, allow 0 failures
> r-1: Wave 1 of 3: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
why device 1
> [waits_for_device] fw@1.1 is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
why device 5
> [waits_for_wave] device 5 is in wave 2 of r-1, which is not open. Wave 1 of 3: 0 of 1 devices succeeded, 0 failed. Wave 2 opens at 1 succeeded; more than 0 failed stop it.
device 1 fetches
why device 1
> [installing] device 1 works on fw@1.1. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
device 1 succeeds
> r-1: Wave 2 of 3: 0 of 10 devices succeeded, 0 failed. Wave 3 opens at 10 succeeded; more than 0 failed stop it.
devices 2-10 succeed
> r-1: Wave 2 of 3: 9 of 10 devices succeeded, 0 failed. Wave 3 opens at 10 succeeded; more than 0 failed stop it.
why device 12
> [waits_for_wave] device 12 is in wave 3 of r-1, which is not open. Wave 2 of 3: 9 of 10 devices succeeded, 0 failed. Wave 3 opens at 10 succeeded; more than 0 failed stop it.
device 11 succeeds
> r-1: Wave 3 of 3: 0 of 29 devices succeeded, 0 failed, 29 to go.
devices 12-39 succeed
> r-1: Wave 3 of 3: 28 of 29 devices succeeded, 0 failed, 1 to go.
device 40 succeeds
> r-1: Finished: 40 of 40 devices succeeded.
why device 40
> [done] device 40 went from fw@1.0 to fw@1.1.
what runs
> 40 devices run fw@1.1
