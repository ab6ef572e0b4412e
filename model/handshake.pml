/* SPDX-License-Identifier: MIT */
/*
 * Meeting, and meeting again: State Table, epoch, incarnation and its acknowledgement, doorbells that get lost, either
 * side dying at any instant (docs/protocol.md, 3 and 7). Rings are two counters here; records.pml has them in full.
 *
 * Checked: whatever dies, every request of a driver that lives is answered (by the device, or with an error because its
 * epoch is over); nothing of a driver is looked at before its incarnation is acknowledged; nobody waits for ever.
 *
 * Mutants: NO_TIMER_FRONTEND, NO_TIMER_BACKEND (re-check timer removed), NO_EPOCH_TEST, NO_INCARNATION_TEST.
 */
#ifndef BACKEND_KILLS
#define BACKEND_KILLS 2
#endif
#ifndef FRONTEND_KILLS
#define FRONTEND_KILLS 1
#endif
#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef PATIENCE
#define PATIENCE 4		/* rounds of both timers after which nothing has changed: nobody will come any more */
#endif

#define ABSENT 0
#define READY 1
#define RESUMING 2

#define RESET 1
#define ENABLE 2

/* -- the link, in shared memory -- */
byte backend_state, frontend_state;	/* State Table */
byte epoch, acknowledged;		/* extension, line 0 */
byte incarnation;			/* extension, line 1 ... */
bool can_resume;			/* ... its capabilities */
byte word;				/* write_transaction, with the value it is about */
byte available, used;			/* ring: chains made available, chains returned */

/* -- the state object, which outlives back-ends -- */
byte kept_epoch, kept_incarnation;
bool kept_live;

/* -- a back-end's private state: gone with it -- */
byte served_incarnation;
bool live, frontend_seen;

/* -- doorbells, timers, and who is killed when -- */
bool bell_backend, bell_frontend, tick_backend, tick_frontend;
bool kill_backend, kill_frontend, unrest = true, finished;
byte backend_kills = BACKEND_KILLS, frontend_kills = FRONTEND_KILLS, rounds;

/* -- for the properties only -- */
byte epochs, incarnations, answers;
byte ring_of;				/* incarnation of the driver that made the ring */

/* Anything that brings the two sides on: states, acknowledgements, transactions, answers. */
#define MOVED rounds = 0

inline ring(bell)	/* a doorbell may get lost: not connected yet, taken by a process that died */
{
	if
	:: bell = true
	:: skip
	fi
}

/* ---- back-end ---------------------------------------------------------------------------------------------------- */

/* DeviceTransport._keep, KeptLink.keep_queue and keep_driver: the incarnation comes last */
inline keep()
{
	kept_live = live;
	kept_incarnation = served_incarnation
}

/* DeviceTransport._forget_driver */
inline forget_driver()
{
	live = false;
	keep()
}

/* DeviceTransport.begin_afresh, Registers.publish: everything but the rings is zeroed while the state is 0 */
inline begin_afresh()
{
	backend_state = ABSENT;
	ring(bell_frontend);
	kept_epoch = 0;				/* KeptLink.forget: the epoch goes first */
	kept_live = false;
	word = 0;
	acknowledged = 0;
	incarnation = 0;
	can_resume = false;
	epochs++;
	epoch = epochs;
	served_incarnation = 0;
	live = false;
	keep();
	kept_epoch = epochs;			/* KeptLink.begin */
	d_step { backend_state = READY; MOVED };
	ring(bell_frontend)
}

/* DeviceTransport.serve_transactions, _act, Window.compare_exchange32 */
inline serve_transaction()
{
	if
	:: word == RESET -> forget_driver(); d_step { if :: word == RESET -> word = 0 :: else fi; MOVED }
	:: word == ENABLE -> live = true; keep(); d_step { if :: word == ENABLE -> word = 0 :: else fi; MOVED }
	:: else
	fi
}

/* DeviceTransport._serve_queue: one chain is taken, carried out and published; kept as records.pml says */
inline serve_queue()
{
	if
	:: live && used != available ->
		d_step { assert(ring_of == served_incarnation); used++; MOVED };
		ring(bell_frontend)
	:: else
	fi
}

/* Resumption._resume: goes on if there is somebody to go on for */
inline resume()
{
	backend_state = RESUMING;
	ring(bell_frontend);
	if
	:: frontend_state == ABSENT -> begin_afresh()
	:: else ->
		frontend_seen = true;
		served_incarnation = kept_incarnation;
		if
		:: incarnation == served_incarnation -> live = kept_live
		:: else -> live = false
		fi;
		acknowledged = served_incarnation;
		if
		:: incarnation == served_incarnation -> serve_transaction()
		:: else
		fi;
		d_step { backend_state = READY; MOVED };
		ring(bell_frontend);
		ring(bell_frontend)		/* DeviceTransport.go_on: every queue is rung */
	fi
}

/* DeviceTransport._meet_driver, then the rest of look */
inline backend_look()
{
	if
	:: frontend_state == ABSENT ->
		if
		:: frontend_seen -> frontend_seen = false; forget_driver()
		:: else
		fi
	:: else ->
		frontend_seen = true;
#ifndef NO_INCARNATION_TEST
		if
		:: incarnation != served_incarnation ->
			forget_driver();
			served_incarnation = incarnation;
			keep();
			d_step { acknowledged = served_incarnation; MOVED }
		:: else
		fi;
#else
		served_incarnation = incarnation;
		acknowledged = incarnation;
#endif
		serve_transaction();
		serve_queue()
	fi
}

inline backend_starts()
{
	d_step { live = false; frontend_seen = false; served_incarnation = 0 };
	if
	:: kept_epoch != 0 && can_resume && frontend_state != ABSENT -> resume()
	:: true -> begin_afresh()	/* the service was reconfigured, or there is nobody to go on for */
	fi
}

active proctype Backend()
{
restart:
	{
		backend_starts();
looking:
		backend_look();
		if
		:: live && used != available -> goto looking	/* more is waiting: Queue.unfinished */
		:: else
		fi;
end_idle:
		if
		:: bell_backend -> bell_backend = false
		:: tick_backend -> tick_backend = false		/* LOOK_SECONDS */
		fi;
		goto looking
	} unless { kill_backend };
	/* KeptGuest.backend_died, IvshmemServer.mark_absent; doorbells it had taken are gone */
	d_step { kill_backend = false; backend_state = ABSENT; bell_backend = false };
	ring(bell_frontend);
	goto restart
}

/* ---- front-end ---------------------------------------------------------------------------------------------------- */

byte known, mine, state_before;
bool spoiled, over, made, asked;

#ifndef NO_EPOCH_TEST
#define ANOTHER_EPOCH (epoch != known)
#else
#define ANOTHER_EPOCH false
#endif
#define EPOCH_IS_OVER (backend_state != ABSENT && ANOTHER_EPOCH)

/* ivshmem_transact: how it failed does not matter here */
inline transact(value)
{
	if
	:: backend_state != ABSENT && word == 0 && acknowledged == mine		/* can_post */
	:: backend_state == ABSENT -> spoiled = true				/* ABSENT_LIMIT_MS */
	:: EPOCH_IS_OVER -> over = true
	fi;
	if
	:: spoiled || over
	:: else ->
		state_before = backend_state;
		if
		:: ANOTHER_EPOCH -> over = true
		:: else ->
			word = value;
			ring(bell_backend);
			if
			:: word == 0
			:: backend_state == ABSENT -> word = 0; spoiled = true		/* withdraw */
			:: EPOCH_IS_OVER -> word = 0; over = true
			fi;
			if
			:: spoiled || over
			:: else ->
				/* The state first: post_once */
				if
				:: backend_state != state_before -> spoiled = true
				:: else ->
					if
					:: ANOTHER_EPOCH -> over = true
					:: else
					fi
				fi
			fi
		fi
	fi
}

/* registration.c, go_down: the device is taken away, its requests are answered with errors */
inline give_up_device()
{
	if
	:: asked -> d_step { answers++; asked = false }
	:: else
	fi;
	made = false;
	spoiled = false;
	over = false;
	frontend_state = ABSENT;
	ring(bell_backend);
	incarnations++;
	assert(incarnations < 16);	/* else the device comes and goes for ever */
	mine = incarnations		/* ivshmem_choose_incarnation */
}

inline wait_for_bell()
{
	if
	:: bell_frontend -> bell_frontend = false
	:: tick_frontend -> tick_frontend = false	/* ivshmem_watch puts itself back on the queue */
	fi
}

active proctype Frontend()
{
restart:
	{
		/* link_probe */
		frontend_state = ABSENT;
		ring(bell_backend);
		incarnations++;
		mine = incarnations;
waiting:	/* watch.c, advance: PHASE_WAITING, greet */
		if
		:: backend_state != ABSENT && epoch != 0 ->
			known = epoch;
			incarnation = mine;		/* ivshmem_write_own_line */
			can_resume = true;
			d_step { frontend_state = READY; MOVED };
			ring(bell_backend)
		:: else -> wait_for_bell(); goto waiting
		fi;
greeting:	/* await_acknowledgement */
		if
		:: backend_state == ABSENT || epoch != known ->
			frontend_state = ABSENT;	/* start_over */
			ring(bell_backend);
			goto waiting
		:: backend_state == READY && epoch == known && acknowledged == mine
		:: else -> wait_for_bell(); goto greeting
		fi;
		/* register_device: virtio resets first; the rings are cleared, then enabled */
		transact(RESET);
		if
		:: spoiled || over
		:: else ->
			d_step { available = 0; used = 0; ring_of = mine; made = true };
			transact(ENABLE)
		fi;
online:
		if
		:: answers >= REQUESTS -> goto done
		:: answers < REQUESTS && (over || (spoiled && backend_state == READY)) -> give_up_device(); goto waiting
		:: answers < REQUESTS && EPOCH_IS_OVER -> over = true; goto online
		:: answers < REQUESTS && !over && made && asked && backend_state != ABSENT && !ANOTHER_EPOCH && used == available ->
			d_step { answers++; asked = false; MOVED }; goto online	/* ivshmem_peer_is_ours, vring_interrupt */
		:: answers < REQUESTS && !over && !spoiled && !asked ->
			asked = true; available++; ring(bell_backend); goto online
		:: else -> wait_for_bell();
			/* look_at_peer: back again, every queue is rung */
			ring(bell_backend); goto online
		fi
	} unless { kill_frontend };
	/* Dies without a word. On v1 the server learns of it only if QEMU goes, too. */
	d_step { kill_frontend = false; asked = false; spoiled = false; over = false; made = false; bell_frontend = false };
	if
	:: frontend_state = ABSENT; ring(bell_backend)
	:: skip
	fi;
	goto restart;
done:
	finished = true
}

/* ---- the world ----------------------------------------------------------------------------------------------------- */

/* Timers are slow: they matter once nothing else moves. */
active proctype Timers()
{
	do
	:: finished -> break
	:: timeout && !finished ->
		rounds++;
		assert(rounds < PATIENCE);	/* else somebody waits for ever */
#ifndef NO_TIMER_BACKEND
		tick_backend = true;
#endif
#ifndef NO_TIMER_FRONTEND
		tick_frontend = true;
#endif
		if
		:: backend_kills || frontend_kills -> unrest = true
		:: skip
		fi
	od
}

active proctype Killer()
{
end_rest:
	do
	:: unrest && backend_kills -> d_step { backend_kills--; kill_backend = true; rounds = 0 }
	:: unrest && frontend_kills && !finished -> d_step { frontend_kills--; kill_frontend = true; rounds = 0 }
	:: unrest -> unrest = false
	od
}
