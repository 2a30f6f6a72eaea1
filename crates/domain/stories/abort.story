# Aborting asks what is being installed to stop; one device does, one refuses and finishes.
fleet 5 devices
start waves 3 2
> r-1: Wave 1 of 2: 0 of 3 devices succeeded, 0 failed. Wave 2 opens at 3 succeeded; more than 0 failed stop it.
devices 1-2 fetch
abort by bob
> r-1: Aborted by bob. Not stopped yet: 2 devices.
why device 1
> [waits_for_cancel] device 1 was asked to stop fw@1.1 (its rollout was aborted) and has not answered.
why device 3
> [canceled] fw@1.1 was canceled on device 3: its rollout was aborted.
device 1 stops
> r-1: Aborted by bob. Not stopped yet: 1 device.
device 2 refuses to stop
why device 2
> [installing] device 2 works on fw@1.1. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
device 2 succeeds
> r-1: Aborted by bob.
abort by bob
> refused: it has ended
what runs
> 4 devices run fw@1.0
> 1 devices run fw@1.1
