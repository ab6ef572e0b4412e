/* SPDX-License-Identifier: MIT */
/*
 * What is in flight in a split ring, and the commit record: a back-end that takes chains, carries them out in any order,
 * gives them back in batches, and is killed between any two of its stores; its successor goes on from the state object
 * (docs/protocol.md, 9; cython_ext/in_flight.pxi). The driver makes a head available again as soon as it is back.
 *
 * Checked: each request gets exactly one used entry, whatever is killed when; the used index a successor finds is one of
 * the two it may be; in the end everything is answered (carrying out twice is allowed).
 *
 * Mutants: PUBLISH_BEFORE_COMMIT, FREE_BEFORE_PUBLISH (records end before the used index moves), OLD_MARKS (a
 * record that is taken anew keeps its mark of an earlier batch).
 */
#ifndef KILLS
#define KILLS 2
#endif
#ifndef REQUESTS
#define REQUESTS 4
#endif
#define SIZE 2				/* of the ring; two heads make every order there is */

/* -- the ring, in shared memory -- */
byte available_ring[SIZE], available_index;
byte used_ring[SIZE], used_index;

/* -- the state object: queue record and in-flight records -- */
byte used_position, commit_old, commit_count, next_sequence = 1;
byte sequence[SIZE];			/* 0 = free */
bool committed[SIZE];

/* -- private state of a back-end: split_device -- */
bool held[SIZE], returned[SIZE];
byte last_available, used, published, batch_count;
byte redo[SIZE], redo_count, redo_next;

/* -- private state of the driver -- */
bool outstanding[SIZE];
byte used_seen, submitted, answered;

bool kill;
byte kills = KILLS;

/* record_settle: the used index tells whether the batch became visible; done again if this is killed, too */
inline settle(index, head)
{
	index = used_index;
	if
	:: commit_count != 0 && index == commit_old + commit_count ->
		used_position = index;
		head = 0;
		do
		:: head < SIZE && committed[head] -> sequence[head] = 0; head++
		:: head < SIZE && !committed[head] -> head++
		:: head == SIZE -> break
		od
	:: commit_count != 0 && index == commit_old
	:: commit_count == 0 && index == used_position
	:: else -> assert(false)		/* NEEDS_RESET: must not come from a kill */
	fi;
	commit_count = 0;
	head = 0;
	do
	:: head < SIZE -> committed[head] = false; head++
	:: else -> break
	od;
	used = index;
	published = index;
	head = 0
}

/* record_resume: what is held is taken again in the order of its sequence numbers */
inline go_on()
{
	d_step {
		if
		:: sequence[0] && sequence[1] && sequence[0] > sequence[1] -> redo[0] = 1; redo[1] = 0; redo_count = 2
		:: sequence[0] && sequence[1] && sequence[0] < sequence[1] -> redo[0] = 0; redo[1] = 1; redo_count = 2
		:: sequence[0] && !sequence[1] -> redo[0] = 0; redo_count = 1
		:: !sequence[0] && sequence[1] -> redo[0] = 1; redo_count = 1
		:: !sequence[0] && !sequence[1]
		fi;
		if
		:: sequence[0] >= next_sequence -> next_sequence = sequence[0] + 1
		:: else
		fi;
		if
		:: sequence[1] >= next_sequence -> next_sequence = sequence[1] + 1
		:: else
		fi;
		last_available = used + redo_count;
		assert(last_available <= available_index)
	}
}

/* split_device_pop: device_next_head, record_taken */
inline take(head)
{
	if
	:: redo_next < redo_count -> d_step { head = redo[redo_next]; redo_next++; held[head] = true }
	:: else ->
		head = available_ring[last_available % SIZE];
		assert(!held[head] && !returned[head]);
#ifndef OLD_MARKS
		committed[head] = false;
#endif
		next_sequence++;
		sequence[head] = next_sequence - 1;
		d_step { last_available++; held[head] = true }
	fi;
	head = 0
}

/* split_device_push, record_returned: the entry is written, not yet visible */
inline push(head)
{
	used_ring[used % SIZE] = head;
	d_step { used++; held[head] = false; returned[head] = true; batch_count++ };
	head = 0
}

inline free_records(head)
{
	head = 0;
	do
	:: head < SIZE && returned[head] -> sequence[head] = 0; head++
	:: head < SIZE && !returned[head] -> head++
	:: else -> break
	od;
	head = 0
}

inline commit(head)
{
	head = 0;
	do
	:: head < SIZE && returned[head] -> committed[head] = true; head++
	:: head < SIZE && !returned[head] -> head++
	:: else -> break
	od;
	head = 0;
	commit_old = published;
	commit_count = batch_count
}

/* split_device_publish: record_commit, the used index, record_published */
inline publish(head)
{
#ifndef PUBLISH_BEFORE_COMMIT
	commit(head);
#endif
#ifdef FREE_BEFORE_PUBLISH
	free_records(head);
#endif
	used_index = used;
#ifdef PUBLISH_BEFORE_COMMIT
	commit(head);
#endif
	used_position = used;
	free_records(head);
	d_step { returned[0] = false; returned[1] = false; published = used; batch_count = 0 };
	commit_count = 0
}

inline process_is_gone()
{
	d_step {
		held[0] = false; held[1] = false; returned[0] = false; returned[1] = false;
		last_available = 0; used = 0; published = 0; batch_count = 0;
		redo[0] = 0; redo[1] = 0; redo_count = 0; redo_next = 0
	}
}

active proctype Backend()
{
	byte head, index;
start:
	{
		settle(index, head);
		go_on();
		do
		:: redo_next < redo_count || last_available != available_index -> take(head)
		:: held[0] -> push(head)
		:: held[1] -> head = 1; push(head)
		:: batch_count -> publish(head)
		:: answered == REQUESTS -> goto over
		od
	} unless { kill };
	kill = false;
	process_is_gone();
	d_step { head = 0; index = 0 };
	goto start;
over:
	skip
}

/* Any driver: virtqueue_add, virtqueue_get_buf */
active proctype Driver()
{
	byte head;
	do
	:: submitted < REQUESTS && (!outstanding[0] || !outstanding[1]) ->
		if
		:: !outstanding[0] -> head = 0
		:: !outstanding[1] -> head = 1
		fi;
		available_ring[available_index % SIZE] = head;
		d_step { outstanding[head] = true; submitted++; available_index++; head = 0 }
	:: used_seen != used_index ->
		d_step {
			head = used_ring[used_seen % SIZE];
			assert(outstanding[head]);	/* else it was answered already */
			outstanding[head] = false;
			used_seen++;
			answered++;
			head = 0
		}
	:: answered == REQUESTS -> break
	od
}

active proctype Killer()
{
end_rest:
	do
	:: d_step { kills && !kill -> kills--; kill = true }
	od
}
