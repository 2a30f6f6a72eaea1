# A more urgent rollout takes what was only offered, and waits for what is being installed. The less urgent one is only
# put off: it is carried out afterwards, although it came first.
fleet 4 devices
start waves rest
> r-1: Wave 1 of 1: 0 of 4 devices succeeded, 0 failed, 4 to go.
device 1 fetches
start waves rest, priority 900, release 1.2
> r-2: Wave 1 of 1: 0 of 4 devices succeeded, 0 failed, 4 to go.
why device 1
> [waits_for_action] device 1 waits for its turn: action 1 of r-1 (fw@1.1, priority 500) goes first.
> [installing] device 1 works on fw@1.1. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
why device 2
> [waits_for_device] fw@1.2 is on offer, and device 2 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [waits_for_action] device 2 waits for its turn: action 5 of r-2 (fw@1.2, priority 900) goes first.
device 1 succeeds
> r-1: Wave 1 of 1: 1 of 4 devices succeeded, 0 failed, 3 to go.
why device 1
> [waits_for_device] fw@1.2 is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [done] device 1 went from fw@1.0 to fw@1.1.
devices 1-4 succeed
> r-2: Finished: 4 of 4 devices succeeded.
why device 2
> [waits_for_device] fw@1.1 is on offer, and device 2 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
> [done] device 2 went from fw@1.0 to fw@1.2.
devices 2-4 succeed
> r-1: Finished: 4 of 4 devices succeeded.
what runs
> 3 devices run fw@1.1
> 1 devices run fw@1.2
