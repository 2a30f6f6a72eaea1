# A device's user consents, and then its window has to open. What a device does behind a closed window is no silence.
fleet 2 devices
start waves rest, with consent, window sat 02:00-05:00 Europe/Berlin
> r-1: Wave 1 of 1: 0 of 2 devices succeeded, 0 failed, 2 to go.
why device 1
> [waits_for_consent] device 1 (or its user) has to consent to fw@1.1 first. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
device 1 denies
why device 1
> [waits_for_consent] device 1 (or its user) has to consent to fw@1.1 first. It counts as failed if it says nothing until 2026-11-19T11:06:40.000Z.
devices 1-2 consent
why device 1
> [waits_for_window] device 1 may install fw@1.1 in the window sat 02:00-05:00 Europe/Berlin, which opens at 2026-11-21T01:00:00.000Z.
device 1 fetches
device 1 succeeds
why device 1
> [waits_for_window] device 1 may install fw@1.1 in the window sat 02:00-05:00 Europe/Berlin, which opens at 2026-11-21T01:00:00.000Z.
after 62h
why device 1
> [waits_for_device] fw@1.1 is on offer, and device 1 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-22T01:00:00.000Z.
device 1 fetches
why device 1
> [installing] device 1 works on fw@1.1. It counts as failed if it says nothing until 2026-11-22T01:06:40.000Z.
device 1 succeeds
> r-1: Wave 1 of 1: 1 of 2 devices succeeded, 0 failed, 1 to go.
why device 1
> [done] device 1 went from fw@1.0 to fw@1.1.
why device 2
> [waits_for_device] fw@1.1 is on offer, and device 2 has not fetched it (last seen: never). It counts as failed if it says nothing until 2026-11-22T01:00:00.000Z.
after 24h
> r-1: Paused: 1 failed in wave 1, 0 allowed. Resume or abort it, or roll it back.
