/* SPDX-License-Identifier: MIT */
/*
 * Write transactions: a word with a sequence number, cleared by compare-and-swap of the word that was served; a driver
 * whose patience is bounded; a back-end that may be slow, be killed, resume, or begin afresh (docs/protocol.md, 5).
 *
 * The driver writes a register twice, then resets the device, as a driver that gives up on it does at once.
 *
 * Checked: a write that the driver takes for successful was acted upon, with the driver's value; after a reset that
 * counts as carried out the device is reset, whatever else was under way; nobody waits for ever.
 *
 * Mutants: CLEAR_WITHOUT_COMPARE; EPOCH_BEFORE_STATE (the two checks after a cleared word the
 * other way round); ABSENCE_COUNTS (absent before and after is taken for unchanged).
 */
#ifndef KILLS
#define KILLS 2
#endif

#define ABSENT 0
#define READY 1
#define RESUMING 2

#define REGISTER 0
#define STATUS 1
#define NEEDS_RESET 64
#define WORD(field, sequence) ((sequence) * 2 + (field) + 2)
#define FIELD_OF(word) ((word) % 2)

/* -- shared memory -- */
byte state = READY, epoch = 1, word;
byte field[2] = { 0, 3 };		/* the registers as the header shows them; 3 = a driver is there */

/* -- the back-end's private state, kept over its death (KeptLink) -- */
byte device[2] = { 0, 3 };
bool kept = true;			/* there is something to go on from */

bool quitting, finished;
bool kill;
byte kills = KILLS, breaks = 1, epochs = 1;
byte acted_with[8] = 255;		/* by sequence number, for the properties only: the value the device took */

/* ---- back-end ---- */

/* Registers.publish: word, registers and epoch are zeroed in this order while the state is 0 */
inline begin_afresh()
{
	state = ABSENT;
	kept = false;				/* KeptLink.forget */
	word = 0;
	d_step { field[0] = 0; field[1] = 0; device[0] = 0; device[1] = 0 };
	epoch = 0;
	epochs++;
	epoch = epochs;
	kept = true;				/* KeptLink.begin */
	state = READY
}

/* DeviceTransport.serve_transactions: read once, act (idempotent), keep, show, clear */
inline serve(request, value)
{
	request = word;
	if
	:: request == 0
	:: else ->
		value = field[FIELD_OF(request)];
		if
		:: FIELD_OF(request) == STATUS && (value & NEEDS_RESET) && !(device[STATUS] & NEEDS_RESET)	/* _set_status: a collision */
		:: else -> d_step { device[FIELD_OF(request)] = value; acted_with[request / 2 - 1] = value }
		fi;
		field[FIELD_OF(request)] = device[FIELD_OF(request)];	/* Registers.show_status, show_queue */
#ifdef CLEAR_WITHOUT_COMPARE
		word = 0;
#else
		d_step { if :: word == request -> word = 0 :: else fi };
#endif
		request = 0;
		value = 0
	fi
}

active proctype Backend()
{
	byte request, value;
	bool successor;
start:
	{
		if
		:: successor -> begin_afresh()
		:: successor && kept -> state = RESUMING; serve(request, value); state = READY	/* Resumption._resume */
		:: !successor
		fi;
		do
		:: word != 0 -> serve(request, value)
		/* DeviceTransport._break: the device breaks over something in its rings, and says so at any time */
		:: breaks && device[STATUS] -> breaks--; device[STATUS] = device[STATUS] | NEEDS_RESET;
			field[STATUS] = device[STATUS]
		:: finished -> goto over
		od
	} unless { kill };
	d_step { kill = false; successor = true; request = 0; value = 0 };
	state = ABSENT;				/* IvshmemServer.mark_absent */
	goto start;
over:
	skip
}

/* ---- front-end: transaction.c ---- */

byte known = 1, sequence, state_seen, outcome;

#define SUCCESS 0
#define AGAIN 1
#define STALE 2
#define NOT_TAKEN 3

/* An absent back-end serves nothing: a word that is 0 then was zeroed by one that begins afresh */
#ifndef ABSENCE_COUNTS
#define COUNTS(state) (state != ABSENT)
#else
#define COUNTS(state) true
#endif

/* post_once, confirm */
inline post_once(which, value)
{
	outcome = SUCCESS;
	if
	:: state != ABSENT && word == 0
	:: outcome = NOT_TAKEN		/* ABSENT_LIMIT_MS or PRESENT_LIMIT_MS are over */
	fi;
	if
	:: outcome == SUCCESS ->
		state_seen = state;
		if
		:: epoch != known -> outcome = STALE
		:: else ->
			field[which] = value;
			sequence++;
			word = WORD(which, sequence);
			if
			:: word == 0
			:: outcome = NOT_TAKEN
			fi;
			if
			:: outcome == NOT_TAKEN -> word = 0		/* withdraw */
			:: else ->
#ifndef EPOCH_BEFORE_STATE
				if :: state != state_seen || !COUNTS(state_seen) -> outcome = AGAIN :: else fi;
				if :: epoch != known -> outcome = STALE :: else fi
#else
				if :: epoch != known -> outcome = STALE :: else fi;
				if :: outcome == SUCCESS && (state != state_seen || !COUNTS(state_seen)) -> outcome = AGAIN :: else fi
#endif
			fi
		fi
	:: else
	fi
}

/* post: TRIES */
inline post(which, value)
{
	post_once(which, value);
	if
	:: outcome == AGAIN -> post_once(which, value)
	:: else
	fi;
	if
	:: outcome == AGAIN -> outcome = NOT_TAKEN
	:: else
	fi
}

active proctype Frontend()
{
	/* ivshmem_transact: the first failure spoils the device; nothing but a reset follows */
	post(REGISTER, 1);
	if
	:: outcome == SUCCESS ->
		assert(acted_with[sequence] == 1);
		post(REGISTER, 2);
		if
		:: outcome == SUCCESS -> assert(acted_with[sequence] == 2)
		:: else
		fi
	:: else
	fi;
	/* ivshmem_transact_reset: success is a cleared word and a status that reads 0 */
	post(STATUS, 0);
	if
	:: outcome == SUCCESS && field[STATUS] != 0 -> post(STATUS, 0)
	:: else
	fi;
	if
	:: outcome == SUCCESS && field[STATUS] == 0 -> assert(device[STATUS] == 0)
	:: else		/* a new incarnation: resume.pml */
	fi;
	finished = true
}

active proctype Killer()
{
end_rest:
	do
	:: d_step { kills && !kill -> kills--; kill = true }
	od
}
