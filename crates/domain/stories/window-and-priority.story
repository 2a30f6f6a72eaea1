# What waits for its window gives way to something more urgent as soon as the device has put it down.
fleet 1 devices
start waves rest, window sat 02:00-05:00 UTC
> r-1: Wave 1 of 1: 0 of 1 devices succeeded, 0 failed, 1 to go.
device 1 fetches
start waves rest, priority 900, release 1.2
> r-2: Wave 1 of 1: 0 of 1 devices succeeded, 0 failed, 1 to go.
why device 1
> [waits_for_action] device 1 waits for its turn: action 1 of r-1 (fw@1.1, priority 500) goes first.
> [waits_for_window] device 1 may install fw@1.1 in the window sat 02:00-05:00 UTC, which opens at 2026-11-21T02:00:00.000Z.
device 1 succeeds
why device 1
> [waits_for_device] fw@1.2 is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [waits_for_action] device 1 waits for its turn: action 2 of r-2 (fw@1.2, priority 900) goes first.
device 1 succeeds
> r-2: Finished: 1 of 1 devices succeeded.
why device 1
> [waits_for_window] device 1 may install fw@1.1 in the window sat 02:00-05:00 UTC, which opens at 2026-11-21T02:00:00.000Z.
> [done] device 1 went from fw@1.0 to fw@1.2.
