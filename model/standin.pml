/* SPDX-License-Identifier: MIT */
/*
 * The stand-in: the front-end answers for an absent back-end, and only one of the two may write the used ring at a time
 * (docs/protocol.md, 7). An owner word for each queue, with a count of its changes, is taken by compare-and-swap.
 *
 * The back-end is killed, or stands still so long that the stand-in takes it for dead, and then goes on. Its look at the
 * owner word and its write are one step here: what remains between them is described in docs/protocol.md.
 *
 * Checked: each request is answered exactly once; a used index that moved is believed only where a stand-in may have
 * moved it; nobody waits for ever.
 *
 * Mutants: NO_OWNER (nobody heeds the word), ABSENCE_FIRST (the stand-in reads the word after it has seen absence),
 * NO_KEPT_OWNER (a successor does not know whether there was a stand-in), STALE_STALL (that a back-end stood still is
 * held against its successor).
 */
#ifndef KILLS
#define KILLS 3
#endif
#ifndef STALLS
#define STALLS 1
#endif
#ifndef PASSES
#define PASSES 2
#endif
#ifndef REQUESTS
#define REQUESTS 3
#endif

#define ABSENT 0
#define READY 1
#define RESUMING 2

#define NOBODY 0
#define BACKEND 1
#define STANDIN 2
#define OWNER_OF(word) ((word) % 4)
#define NEXT(word, owner) (((word) / 4 + 1) * 4 + (owner))

/* -- shared memory -- */
byte state = READY, owner = BACKEND, available, used_index;
byte process = 1;		/* session */

/* -- the state object -- */
byte position, commit_count, ring_owner = BACKEND;

bool kill, stalled, afresh, finished;
byte stalled_process;
byte kills = KILLS, stalls = STALLS, passes = PASSES;

/* -- for the properties only: how often each request was answered -- */
byte answers[REQUESTS];

inline answer_up_to(from, to)
{
	do
	:: from < to -> answers[from]++; assert(answers[from] == 1); from++
	:: else -> break
	od
}

/* ---- back-end ---- */

/* RingShare.take; after STANDIN_SECONDS it is not waited any more: Resumption._come_back */
inline take_ring(mine, found)
{
#ifndef NO_OWNER
	do
	:: OWNER_OF(owner) == STANDIN && OWNER_OF(found) == STANDIN -> afresh = true; break
	:: OWNER_OF(owner) == STANDIN && OWNER_OF(found) != STANDIN -> found = STANDIN	/* waited for, or not */
	:: OWNER_OF(owner) != STANDIN ->
		found = owner;
		d_step {
			if
			:: owner == found && OWNER_OF(found) != STANDIN -> owner = NEXT(found, BACKEND); mine = owner
			:: else
			fi
		};
		if
		:: mine != 0 -> break
		:: else
		fi
	od
#else
	found = owner;
	mine = owner
#endif
}

#ifndef NO_KEPT_OWNER
#define STANDIN_MAY_HAVE_HAD_IT (found != ring_owner)
#else
#define STANDIN_MAY_HAVE_HAD_IT false
#endif

/* record_settle, record_answered, record_resume */
inline settle(found, index)
{
	index = used_index;
	if
	:: commit_count && index == position + 1 -> position = index	/* published */
	:: index == position						/* not published */
	:: index != position && !(commit_count && index == position + 1) ->
#ifndef NO_OWNER
		assert(STANDIN_MAY_HAVE_HAD_IT);	/* else USED_INDEX_CHANGED: NEEDS_RESET */
#endif
		position = index
	fi;
	commit_count = 0
}

#ifndef NO_OWNER
#define OWNS (owner == mine)
#else
#define OWNS true
#endif

active proctype Backend()
{
	byte mine = BACKEND, found, used;
	bool successor;
start:
	{
		if
		:: successor ->
			state = RESUMING;
			take_ring(mine, found);
			if
			:: afresh -> goto over
			:: else
			fi;
			settle(found, used);
			ring_owner = mine;
			state = READY
		:: !successor
		fi;
		do
		:: used != available ->
			/* the request is carried out; split_device_publish: owns_ring, record_commit, used index, record_published */
			commit_count = 1;
			d_step {
				if
				:: OWNS -> answers[used]++; assert(answers[used] == 1); used++; used_index = used
				:: else -> afresh = true		/* RingTaken: DeviceTransport._start_over */
				fi
			};
			if
			:: afresh -> goto over
			:: else
			fi;
			position = used;
			commit_count = 0
		:: finished -> goto over
		od
	} unless { kill };
	d_step { kill = false; successor = true; mine = 0; found = 0; used = 0; process++ };
	state = ABSENT;
	goto start;
over:
	state = ABSENT		/* DeviceTransport.begin_afresh: another epoch, the device is registered anew */
}

/* ---- front-end: standin.c ---- */

/* ivshmem_peer_present: a heartbeat that stands still says something about one process, while it is ready */
#ifndef STALE_STALL
#define SEEMS_ABSENT (state == ABSENT || (stalled && state == READY && stalled_process == process))
#else
#define SEEMS_ABSENT (state == ABSENT || stalled)
#endif

active proctype Standin()
{
	byte word, seen, index;
end:	do
	:: passes && !afresh && SEEMS_ABSENT ->
		passes--;
		/* The word first, then absence, then the word is taken */
#ifndef ABSENCE_FIRST
		word = owner;
		if
		:: SEEMS_ABSENT
		:: !SEEMS_ABSENT -> goto none
		fi;
#else
		word = owner;
#endif
#ifndef NO_OWNER
		d_step {
			if
			:: owner == word -> owner = NEXT(word, STANDIN); word = owner; index = 1
			:: else -> index = 0
			fi
		};
		if
		:: index == 0 -> goto none
		:: else
		fi;
#endif
		/* One pass: everything that was made available, or nothing */
		index = used_index;
		seen = available;
		if
		:: afresh -> skip
		:: else -> answer_up_to(index, seen); used_index = seen
		fi;
#ifndef NO_OWNER
		d_step { if :: owner == word -> owner = NEXT(word, NOBODY) :: else fi };
#endif
none:		skip;
		d_step { word = 0; seen = 0; index = 0 }
	:: finished -> break
	od
}

active proctype Driver()
{
	byte seen;
	do
	:: available < REQUESTS && !afresh -> available++
	:: seen != used_index && !afresh ->
		assert(used_index > seen && used_index <= available);
		seen = used_index
	:: seen == REQUESTS || afresh -> break
	od;
	finished = true
}

active proctype Killer()
{
end:	do
	:: d_step { kills && !kill -> kills--; kill = true }
	/* look_at_heartbeat: it stood still for 3 s; or moves again, which is noticed later */
	:: d_step { stalls && !stalled && state == READY -> stalls--; stalled = true; stalled_process = process }
	:: stalled -> stalled = false
	od
}
