/* SPDX-License-Identifier: MIT */
/*
 * Reset against resume, with store buffers: each side stores something and then reads what the other side stores
 * (docs/protocol.md, 7). A store waits in its processor's buffer for as long as it likes, behind those before it; a
 * fence, and a compare-and-swap, empty the buffer. Between two release stores nothing stronger is assumed than that
 * order, which x86 and arm64 both keep for the accessors of shared_memory.h and window.h.
 *
 * A driver has requests in flight when it resets its device; the back-end is killed and resumes at any instant.
 *
 * Checked: once a reset counts as carried out (its word was cleared, its incarnation acknowledged, or nobody was there)
 * nothing of the old rings is carried out or stored any more; a reset that was asked for before the back-end was back
 * comes before anything that was in flight, because the driver waits a bounded time only and in-flight work may take
 * any; afterwards the driver starts anew, and its next request is answered; nobody waits for ever.
 *
 * Mutants: NO_FENCE_BACKEND, NO_FENCE_FRONTEND, REDO_FIRST (redo before the pending transaction is read).
 */
#ifndef KILLS
#define KILLS 2
#endif

#ifndef IN_FLIGHT
#define IN_FLIGHT 2
#endif

#define ABSENT 0
#define READY 1
#define RESUMING 2

#define RESET 1
#define ENABLE 2

/* -- shared memory; `ring` tells, for the properties, which life of the driver the stores in a ring belong to -- */
mtype = { STATE, ACKNOWLEDGED, USED, WORD, INCARNATION, AVAILABLE };

byte state = READY, acknowledged = 1, used, word, incarnation = 1, available = IN_FLIGHT;

chan backend_buffer = [3] of { mtype, byte };
chan frontend_buffer = [3] of { mtype, byte };

/* -- the back-end's private state, kept over its death -- */
byte served_incarnation = 1;
bool live = true;
byte done;				/* requests of this ring carried out and published */

bool kill;
byte kills = KILLS;
bool finished;

/* -- for the properties only -- */
byte life = 1;				/* of the driver: counts up when its reset counts as carried out */
byte served_life = 1;			/* whose ring the back-end works on */
bool owed;				/* a reset was there to be seen when the back-end came back */
bool removed;

/* A store leaves its buffer: now the other side sees it. */
inline land(where, what)
{
	if
	:: where == STATE -> state = what;
		if
		:: what == RESUMING && word == RESET -> owed = true
		:: else
		fi
	:: where == ACKNOWLEDGED -> acknowledged = what
	:: where == USED -> assert(what / 4 == life); used = what % 4	/* the life whose ring it goes to is told along */
	:: where == WORD -> word = what;
		if
		:: what == 0 -> owed = false	/* taken back; the new incarnation follows */
		:: else
		fi
	:: where == INCARNATION -> incarnation = what
	:: where == AVAILABLE -> available = what
	fi
}

active proctype Backend_processor()
{
	mtype where;
	byte what;
end:	do
	:: atomic { backend_buffer ? where, what -> land(where, what); where = 0; what = 0 }
	od
}

active proctype Frontend_processor()
{
	mtype where;
	byte what;
end:	do
	:: atomic { frontend_buffer ? where, what -> land(where, what); where = 0; what = 0 }
	od
}

#define FENCE(buffer) empty(buffer)

/* ---- back-end ---- */

/* DeviceTransport._forget_driver with _keep */
inline forget_driver()
{
	d_step { live = false; done = 0; served_life = 0 }
}

/* Window.compare_exchange32 is a full fence, and so sees and changes memory itself */
inline clear(expected)
{
	atomic { FENCE(backend_buffer) -> if :: word == expected -> word = 0; owed = false :: else fi }
}

/* DeviceTransport.serve_transactions */
inline serve_transaction()
{
	if
	:: word == RESET -> forget_driver(); clear(RESET)
	:: word == ENABLE -> d_step { live = true; done = 0; served_life = life }; clear(ENABLE)
	:: word == 0
	fi
}

/* A request is carried out: it reads and writes buffers and the image. Then its used entry is published. */
inline serve_queue()
{
	if
	:: live && available > done ->
		d_step { assert(served_life == life); assert(!owed); done++ };
		backend_buffer ! USED, served_life * 4 + done
	:: else
	fi
}

/* Window.fence in DeviceTransport._resume */
inline backend_fence()
{
#ifndef NO_FENCE_BACKEND
	FENCE(backend_buffer)
#else
	skip
#endif
}

/* DeviceTransport._resume */
inline resume(same)
{
	backend_buffer ! STATE, RESUMING;
	backend_fence();
	same = (incarnation == served_incarnation);
	if
	:: same ->
		d_step { if :: live -> done = used :: else fi };	/* record_settle */
		backend_buffer ! ACKNOWLEDGED, served_incarnation;
#ifdef REDO_FIRST
		serve_queue();
#endif
		serve_transaction();
		backend_buffer ! STATE, READY;
		serve_queue()			/* go_on: what was in flight comes first */
	:: else ->
		backend_buffer ! ACKNOWLEDGED, served_incarnation;
		backend_buffer ! STATE, READY
	fi;
	same = false
}

/* DeviceTransport.look */
inline look()
{
	if
	:: incarnation != served_incarnation ->
		forget_driver();
		served_incarnation = incarnation;
		backend_buffer ! ACKNOWLEDGED, served_incarnation
	:: else
	fi;
	serve_transaction();
	serve_queue()
}

#define SOMETHING_TO_SEE (incarnation != served_incarnation || word != 0 || (live && available > done))

active proctype Backend()
{
	bool same, successor;
start:
	{
		if
		:: successor -> resume(same)
		:: !successor
		fi;
		do
		:: SOMETHING_TO_SEE -> look()
		:: finished -> goto over
		od
	} unless { kill };
	d_step { kill = false; successor = true; same = false };
	/* Its process has ended when the keeper says so: whatever it stored has landed (mark_absent) */
	atomic { FENCE(backend_buffer) -> state = ABSENT };
	goto start;
over:
	skip
}

/* ---- front-end ---- */

inline frontend_fence()
{
#ifndef NO_FENCE_FRONTEND
	FENCE(frontend_buffer)
#else
	skip
#endif
}

/* From here on the driver may do anything with the memory of its rings and buffers. */
inline reset_is_done()
{
	d_step { if :: !removed -> removed = true; life++ :: else fi }
}

/* word_is_clear: own stores are seen at once, so a word still in the own buffer is not clear */
#define WORD_IS_CLEAR (word == 0 && !(frontend_buffer ?? [WORD, RESET]) && !(frontend_buffer ?? [WORD, ENABLE]))

active proctype Frontend()
{
	bool failed;
	/* ivshmem_transact_reset, post: the word, or nothing where nobody is there to take it */
	if
	:: state != ABSENT && WORD_IS_CLEAR && acknowledged == 1 ->
		frontend_buffer ! WORD, RESET;
		if
		:: WORD_IS_CLEAR && state != ABSENT -> reset_is_done()		/* confirm */
		:: state == ABSENT -> failed = true; frontend_buffer ! WORD, 0	/* ABSENT_LIMIT_MS; withdraw */
		fi
	:: state == ABSENT -> failed = true
	fi;
	if
	:: failed ->
		frontend_buffer ! INCARNATION, 2;	/* ivshmem_new_incarnation */
		frontend_fence();
		if
		:: state == ABSENT -> reset_is_done()	/* nobody is there, and whoever comes sees the new incarnation */
		:: state != ABSENT ->
			if
			:: acknowledged == 2 -> reset_is_done()		/* ivshmem_wait_acknowledged */
			:: state == ABSENT -> reset_is_done()
			fi
		fi
	:: else
	fi;
	/* The driver comes up again: nothing can be posted before the incarnation is acknowledged (can_post) */
again:
	state != ABSENT && WORD_IS_CLEAR && acknowledged == (failed -> 2 : 1);
	frontend_buffer ! AVAILABLE, 0;
	frontend_buffer ! USED, life * 4;
	frontend_buffer ! WORD, ENABLE;
	WORD_IS_CLEAR;
	frontend_buffer ! AVAILABLE, 1;
	used == 1 && empty(frontend_buffer);	/* the request is answered */
	finished = true
}

active proctype Killer()
{
end_rest:
	do
	:: d_step { kills && !kill -> kills--; kill = true }
	od
}
