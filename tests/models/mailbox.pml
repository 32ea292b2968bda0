/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Policy `latest`: a mailbox, the one word that both sides write.
 *
 * A record lies in a slot; its descriptor goes into one of E entries, and the entry's index into the word. The producer swaps
 * an index in; what it gets back nobody took, so that entry and slot are free again. The consumer swaps EMPTY in, then reads
 * the descriptor, then the slot. It may keep HOLD records and lets go in any order, by the release ring; it writes releases
 * one by one and makes them visible later, in a step of its own. An entry is free again when its release was read.
 *
 * Rules, with E = 4 and HOLD = 3:
 *   - Before the consumer takes from the mailbox it counts as kept what it has not visibly released.
 *   - A producer that finds every entry in use swaps EMPTY in. If it gets an index, that entry is free. If not, the consumer
 *     has just taken it, so it must have released one before, visibly: the producer reads the releases again.
 * So a record always finds an entry, and E + 1 slots always leave one to fill: the producer never waits, and the newest record
 * is in the mailbox or was taken.
 *
 * With -DDIES the consumer may be killed once, between any two steps. When the death is confirmed, all that the producer's
 * table calls outstanding is its own again but for the newest, which goes into a new mailbox for the successor.
 *
 * Wrong rules, each of which must fail:
 *   -DNOREREAD        an empty mailbox with every entry in use drops the new record: the newest is never seen
 *   -DUNSEEN          the consumer counts a release that is not visible yet: the same
 *   -DHOLD=4          it keeps as many as there are entries: the same
 *   -DSLOTS=4         no slot is left to fill: the producer waits
 *   -DSPLITPUT        the producer loads the word, then stores it: it takes back what was just taken
 *   -DSPLITTAKE       the consumer loads the word, then stores EMPTY: it reads what the producer has taken back
 *   -DDIES -DEAGER    the producer takes back before the death is confirmed: a slot is reused under a reader
 *   -DDIES -DNOREPUT  a successor never sees the newest record if its predecessor died with it
 */
#ifndef N
#define N 7
#endif
#ifndef E
#define E 4
#endif
#ifndef HOLD
#define HOLD 3
#endif
#ifndef SLOTS
#define SLOTS (E + 1)
#endif

#define EMPTY  E
#define NONE   15
#define BIT(s) (1 << (s))

/* Shared. */
byte word = EMPTY;
byte entry[E];       /* descriptor: its slot; NONE when it means nothing */
chan back = [E] of { byte };
byte content[SLOTS]; /* seq of the record in the slot, 0: free or being filled */

/* The producer's. */
byte where[E];       /* slot an entry stands for, NONE: not in use */
byte free = BIT(SLOTS) - 1;
byte put;            /* newest record */

/* The consumers'. */
byte keeps[E];       /* by entry: seq of the record it keeps, 0: none */
byte slot_of[E];
byte taken = NONE;   /* index it got and whose descriptor it has not read */
byte kept;           /* records taken and not released */
byte unshown;         /* set of entries whose release is written but not visible */
byte n_unshown;
byte seen;           /* newest record that a consumer has taken */
byte read;           /* newest record that was let go, read to its end */
bool killed, dead, replaced;

/* The stream has ended, the newest record was read, every slot is back. The processes stop only here. */
#define ALLBACK (put == N && read == N && free == BIT(SLOTS) - 1)

/* An entry comes back. It has one owner. */
inline get_back(i)
{
    assert(where[i] != NONE && (free & BIT(where[i])) == 0);
    free = free | BIT(where[i]);
    content[where[i]] = 0;
    where[i] = NONE;
    entry[i] = NONE
}

inline reap()
{
    do
    :: back?j -> get_back(j)
    :: empty(back) -> break
    od;
    j = NONE
}

inline unused()
{
    i = 0;
    do
    :: i < E && where[i] != NONE -> i++
    :: else -> break
    od
}

#ifdef NOREPUT
#define NEWEST(i) (word == i)
#else
#define NEWEST(i) (content[where[i]] == put)
#endif

/* The consumer is dead: what is outstanding is the producer's, and the newest goes to the successor. */
inline bury()
{
    reap();
    i = 0;
    do
    :: i < E ->
        if
        :: where[i] != NONE && NEWEST(i) -> word = i
        :: where[i] != NONE && !NEWEST(i) -> get_back(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = NONE;
    replaced = true;
    if
    :: dead ->
        dead = false;
        taken = NONE; kept = 0; unshown = 0; n_unshown = 0;
        seen = 0; /* the newest may come again: its release was written and not visible */
        i = 0;
        do
        :: i < E -> keeps[i] = 0; slot_of[i] = NONE; i++
        :: else -> break
        od;
        i = NONE
    :: else
    fi
}

active proctype producer()
{
    byte slot = NONE, i = NONE, j = NONE, old = NONE;

    d_step {
        i = 0;
        do
        :: i < E -> entry[i] = NONE; where[i] = NONE; slot_of[i] = NONE; i++
        :: else -> break
        od;
        i = NONE
    }
    do
    :: atomic { /* a record is due; it never waits for a slot */
        put < N && slot == NONE ->
        if
        :: free == 0 -> reap()
        :: else
        fi;
        assert(free != 0);
        slot = 0;
        do
        :: (free & BIT(slot)) == 0 -> slot++
        :: else -> break
        od;
        free = free & ~BIT(slot)
       };
       atomic { content[slot] = put + 1; unused() };
       if
       :: i < E
       :: atomic { i == E -> old = word; word = EMPTY };
          atomic {
            if
            :: old != EMPTY -> get_back(old)
#ifndef NOREREAD
            :: old == EMPTY -> reap()
#else
            :: old == EMPTY
#endif
            fi;
            old = NONE;
            unused()
          }
       fi;
       if
       :: atomic { i == E -> put++; free = free | BIT(slot); content[slot] = 0; slot = NONE; i = NONE } /* dropped */
       :: atomic { i < E -> entry[i] = slot; where[i] = slot };
#ifdef SPLITPUT
          old = word;
          atomic { word = i;
#else
          atomic { old = word; word = i;
#endif
            put++;
            if
            :: old != EMPTY -> get_back(old)
            :: else
            fi;
            slot = NONE; i = NONE; old = NONE
          }
       fi
    :: atomic { nempty(back) && slot == NONE -> reap() }
#ifdef EAGER
    :: atomic { killed && !replaced && slot == NONE -> bury() }
#else
    :: atomic { dead && slot == NONE -> bury() }
#endif
    :: ALLBACK -> break
    od
}

#ifdef UNSEEN
#define MAYTAKE (kept < HOLD)
#else
#define MAYTAKE (kept + n_unshown < HOLD)
#endif

#define LETGO(i)                                                                      \
    :: atomic {                                                                       \
        !dead && keeps[i] != 0 ->                                                     \
        assert(content[slot_of[i]] == keeps[i]); /* it stayed what it was while it was read */ \
        read = (keeps[i] > read -> keeps[i] : read);                                  \
        keeps[i] = 0; slot_of[i] = NONE;                                              \
        kept--;                                                                       \
        unshown = unshown | BIT(i);                                                     \
        n_unshown++                                                                    \
       }

active proctype consumer()
{
    byte i;

    do
#ifdef SPLITTAKE
    :: atomic { !dead && taken == NONE && MAYTAKE && word != EMPTY -> taken = word };
       atomic { word = EMPTY; kept++ }
#else
    :: atomic { !dead && taken == NONE && MAYTAKE && word != EMPTY -> taken = word; word = EMPTY; kept++ }
#endif
    :: atomic { /* the descriptor; newer than all before */
        !dead && taken != NONE ->
        assert(entry[taken] != NONE && where[taken] == entry[taken] && content[entry[taken]] > seen);
        slot_of[taken] = entry[taken];
        keeps[taken] = content[entry[taken]];
        seen = keeps[taken];
        taken = NONE
       }
    LETGO(0)
    LETGO(1)
    LETGO(2)
    LETGO(3)
    :: atomic { /* releases become visible together */
        !dead && unshown != 0 ->
        i = 0;
        do
        :: i < E ->
            if
            :: unshown & BIT(i) -> assert(nfull(back)); back!i
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0; unshown = 0; n_unshown = 0
       }
#ifdef DIES
    :: atomic { !killed && !ALLBACK -> killed = true }
#ifndef EAGER
    :: atomic { killed && !dead && !replaced -> dead = true }
#endif
#endif
    :: ALLBACK -> break
    od
}

ltl newest_seen { <> ALLBACK }
