/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A stateful stage in `safe` mode that dies at any point and is replaced; a sink that dies as well.
 *
 *                              ring j.0
 *                           +-----------> consumer 0: a sink, makes records durable in order, may die
 *     source ---> stage j --+
 *                           +-----------> consumer 1: keeps records, lets go in any order
 *                              ring j.1
 *
 * The source sends records 1..N from an arena of C slots and writes a slot again as soon as it is released. The stage's state
 * is the set of records it was applied to; its output k is that state, and a view of the source's slot. Stage j is the j-th
 * incarnation and has rings of its own. It dies between any two steps, CRASHES times at most; the sink SINKDEATHS times.
 *
 * Rules:
 *   - Two snapshot buffers take turns. When no snapshot is pending, the state after record m is stored in the buffer that is
 *     not base and named m. At the latest this happens when there is nothing else to do.
 *   - `base` moves to it when every output made from inputs <= m is released by every consumer (of this incarnation: an
 *     output it never sent counts as released, for it starts from a base that had reached it).
 *   - Inputs are released, one after the other, up to the name of base and never further.
 *   - A successor starts from base. Records <= its name that arrive again are released at once; the rest is run again.
 *   - A consumer takes what is left in the old ring, then the new; it drops what it has seen, and releases the duplicate
 *     when it releases the record that it duplicates; at once if that was released before.
 *   - A sink's successor starts after the last durable record and is sent all it has not released by the living stage.
 *   - A record that two workers died in and none has completed is elided. "In" is from taking it to the operator's return;
 *     "completed" is the end of that, stored before the first push, and outlives all workers.
 *
 * Wrong rules, each of which must fail. VIEW: with -DSINKDEATHS=0, a slot is written under its reader. With -DCOPIED outputs are
 * copies, so that slots do not matter, but a record is lost with the sink.
 *   -DEARLY      base moves as soon as the snapshot is stored                     VIEW, and -DCOPIED
 *   -DONEACK     base moves when consumer 0 has released                         VIEW
 *   -DLATEBASE   base is stored after the releases that it allows                 a successor needs a released record
 *   -DDUPNOW     a duplicate is released at once                                  VIEW, and -DCOPIED
 *   -DNEWEST     the successor starts from the newest snapshot, not from base     VIEW, and -DCOPIED
 *   -DONEBUFFER  a snapshot overwrites the one before it                          a successor starts from half a snapshot
 *   -DEVERY=3    snapshots only after every third record, with C = 2 slots        deadlock
 *   -DBAD=k      a record that kills every worker that runs it; with -DNOPOISON   a crash loop (without: it is elided)
 *   -DBUSYLONG   a record is in flight until it is pushed                         outputs differ: an elided record was seen
 *   -DINFLIGHT   all that is taken and not released is suspected                  the same
 *   -DFORGETFUL  it does not matter that a worker has completed it                the same (-DCRASHES=3)
 * Weaker rules that hold:
 *   -DLOSERINGS  a consumer may throw the old ring away instead of draining it
 *   -DDUPNOW -DCOPIED -DSINKDEATHS=0   with copied outputs, and a sink that lives, a duplicate may be released at once
 */
#ifndef N
#define N 4
#endif
#ifndef C
#define C 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef SINKDEATHS
#define SINKDEATHS 1
#endif
#ifndef BAD
#define BAD 0
#define INCS CRASHES
#else
#define INCS (CRASHES + 2) /* it kills twice, at most */
#endif

#if defined(EARLY) || defined(ONEACK)
#define RINGSIZE N /* these rules break credit, too; that is not what it shall be caught by */
#else
#define RINGSIZE C
#endif

#define BIT(k)      (1 << (k))
#define SPAN(a, b)  (BIT((b) + 1) - BIT(a)) /* bits a..b; nothing if b == a - 1 */
#define TORN        1                       /* no state: bit 0 is no record's */
#define RING(j, c)  ((j) * 2 + (c))

chan ring[(INCS + 1) * 2] = [RINGSIZE] of { byte, byte }; /* seq, state */

/* The source. */
byte sent = C;
byte content[C]; /* of slot (seq - 1) % C */
byte released;

/* What outlives the stage: two buffers, base; what is known of deaths. */
byte snap[2], name[2];
byte base;          /* index + 1, 0: none */
byte complete;      /* records up to this were completed */
byte deaths[N + 1]; /* of workers in the record */
byte poisoned;      /* set of elided records */

/* What dies with it. */
byte inc;     /* which incarnation runs */
byte proc;    /* processed through */
byte state;
byte pc;      /* 0 between records, 1 in the operator, 2 and 3 before the pushes, 4 while a snapshot is written */
byte pending; /* index + 1 of a snapshot that is stored and not base */
byte held[2]; /* its outputs that a consumer has not released */

/* The consumers. */
byte at[2];   /* incarnation whose ring is read */
byte got[2];  /* what came by that ring and was not released there */
byte seen[2]; /* newest record */
byte keeps[2];
byte durable, sinkdeaths;
bool down;    /* the sink is dead, the stage does not know */

/* All is released, the sink has made everything durable, the other consumer has seen and let go everything. The processes
 * stop only here: any other stop is a deadlock, or somebody waits for a record that is lost. */
#define ALLBACK (released == N && LACKING(durable) == 0 && LACKING(seen[1]) == 0 && keeps[1] == 0)
#define LACKING(m) (SPAN((m) + 1, N) & ~poisoned)

#define NAME     (base == 0 -> 0 : name[base - 1])
#ifdef ONEBUFFER
#define OTHER    0
#else
#define OTHER    (base == 1) /* index of the buffer that is not base */
#endif
#define ACKED(m) (((held[0] | held[1]) & SPAN(1, m)) == 0)

#if defined(EARLY)
#define MAYMOVE true
#elif defined(ONEACK)
#define MAYMOVE ((held[0] & SPAN(1, name[pending - 1])) == 0)
#else
#define MAYMOVE ACKED(name[pending - 1])
#endif

#ifdef EVERY
#define DUE (proc % EVERY == 0 || proc == N)
#else
#define DUE true
#endif

/* A slot is given back; the source writes the next record there at once. Later would only be later. */
inline give_back()
{
    released++;
    if
    :: sent < N -> sent++; content[(sent - 1) % C] = sent
    :: else
    fi
}

inline push(c, k, v)
{
    assert(nfull(ring[RING(inc, c)]));
    ring[RING(inc, c)]!k, v
}

/* What a buffer contains when it does not matter makes no states. */
inline forget(b)
{
    snap[b] = 0;
    name[b] = 0
}

inline blame(k)
{
    deaths[k]++;
    poisoned = poisoned | (deaths[k] > 1 -> BIT(k) : 0)
}

/* The old worker is dead; the successor finds what outlives it. */
inline succeed()
{
#if defined(INFLIGHT)
    k = released + 1;
    do
    :: k <= proc || (k == proc + 1 && pc == 1) -> blame(k); k++
    :: else -> break
    od;
#elif defined(BUSYLONG)
    k = (pc == 1 -> proc + 1 : proc);
    if
    :: pc >= 1 && pc <= 3 && k > complete -> blame(k)
    :: else
    fi;
#elif !defined(NOPOISON)
    k = proc + 1;
    if
    :: pc == 1 && k > complete -> blame(k)
    :: else
    fi;
#endif
    k = 0;
    inc++;
    pc = 0;
    held[0] = 0;
    held[1] = 0;
    got[0] = 0; /* nobody will get a release of these */
    got[1] = 0;
#ifdef NEWEST
    proc = (pending == 0 -> NAME : name[pending - 1]);
    state = (pending == 0 -> (base == 0 -> 0 : snap[base - 1]) : snap[pending - 1])
#else
    pending = 0;
#ifndef ONEBUFFER
    forget(OTHER);
#endif
    proc = NAME;
    state = (base == 0 -> 0 : snap[base - 1])
#endif
}

/* Where "completed" is stored. */
#ifdef FORGETFUL
#define COMPLETED skip
#else
#define COMPLETED complete = (proc > complete -> proc : complete)
#endif

active proctype stage()
{
    byte k;

    d_step {
        do
        :: k < C -> content[k] = k + 1; k++
        :: else -> break
        od;
        k = 0
    }
    do
    :: atomic {
        pc == 0 && proc < sent ->
        assert(proc + 1 > released); /* what it needs is still there */
        if
        :: poisoned & BIT(proc + 1) -> proc++
        :: else -> pc = 1
        fi
       }
    :: atomic {
        pc == 1 && proc + 1 != BAD ->
        proc++;
        assert(content[(proc - 1) % C] == proc);
        assert((state & BIT(proc)) == 0); /* no record is applied twice */
        state = state | BIT(proc);
#ifndef BUSYLONG
        COMPLETED;
#endif
        pc = 2
       }
    :: atomic { pc == 2 -> push(0, proc, state); held[0] = held[0] | BIT(proc); pc = 3 }
    :: atomic {
        pc == 3 ->
        push(1, proc, state);
        held[1] = held[1] | BIT(proc);
#ifdef BUSYLONG
        COMPLETED;
#endif
        pc = 0
       }
    :: atomic { pc == 0 && pending == 0 && proc > NAME && DUE -> snap[OTHER] = TORN; pc = 4 }
    :: atomic { pc == 4 -> snap[OTHER] = state; name[OTHER] = proc; pending = OTHER + 1; pc = 0 }
#ifdef LATEBASE
    :: atomic { pc == 0 && pending != 0 && MAYMOVE && released < name[pending - 1] -> give_back() }
    :: atomic { pc == 0 && pending != 0 && released == name[pending - 1] -> base = pending; pending = 0 }
#else
    :: atomic { pc == 0 && pending != 0 && MAYMOVE -> forget(1 - OTHER); base = pending; pending = 0 }
    :: atomic { pc == 0 && released < NAME -> give_back() }
#endif
    :: atomic { /* the sink was replaced: a new ring, with all it has not released, in order */
        pc == 0 && down ->
        do
        :: at[0] < inc || nempty(ring[RING(at[0], 0)]) ->
            if
            :: ring[RING(at[0], 0)]?_, _
            :: empty(ring[RING(at[0], 0)]) -> at[0]++
            fi
        :: else -> break
        od;
        k = 1;
        do
        :: k <= N ->
            if
            :: held[0] & BIT(k) -> push(0, k, state & SPAN(1, k))
            :: else
            fi;
            k++
        :: else -> break
        od;
        k = 0;
        down = false
       }
    :: atomic { inc - (BAD != 0 -> deaths[BAD] : 0) < CRASHES && inc < INCS && !ALLBACK -> succeed() }
    :: atomic {
        BAD != 0 && pc == 1 && proc + 1 == BAD ->
        assert(inc < INCS); /* else a crash loop */
        succeed()
       }
    :: ALLBACK -> break
    od
}

#ifdef LOSERINGS
#define DRAIN do :: ring[RING(at[c], c)]?_, _ :: empty(ring[RING(at[c], c)]) -> break od
#define NEXTRING (at[c] < inc)
#else
#define DRAIN skip
#define NEXTRING (at[c] < inc && empty(ring[RING(at[c], c)]))
#endif

/* A release, by the ring of the incarnation that is read. A dead one does not get it. */
inline release(c, k)
{
    if
    :: got[c] & BIT(k) -> held[c] = held[c] & ~BIT(k)
    :: else
    fi;
    got[c] = got[c] & ~BIT(k)
}

inline let_go(c, k)
{
#ifndef COPIED
    assert(content[(k - 1) % C] == k); /* nobody has written the slot */
#endif
    keeps[c] = keeps[c] & ~BIT(k);
    release(c, k)
}

/* Two records are kept at most. */
inline receive(c)
{
    ring[RING(at[c], c)]?k, v;
    /* Every record is applied once, and a duplicate is bit-equal. */
    assert(v == (SPAN(1, k) & ~poisoned));
    got[c] = got[c] | (at[c] == inc -> BIT(k) : 0);
    if
    :: k > seen[c] ->
        /* In order; what lies between was elided, not lost. */
        assert((SPAN(seen[c] + 1, k - 1) & ~poisoned) == 0);
        seen[c] = k;
        keeps[c] = keeps[c] | BIT(k)
    :: else ->
        if
#ifdef DUPNOW
        :: true -> release(c, k)
#else
        :: (keeps[c] & BIT(k)) == 0 -> release(c, k)
        :: else /* released with the one it duplicates */
#endif
        fi
    fi;
    k = 0; v = 0
}

#define ROOM ((keeps[c] & (keeps[c] - 1)) == 0)

#define LETGO(k) :: atomic { (keeps[c] & BIT(k)) && MAYLETGO(k) -> let_go(c, k) }

active proctype sink()
{
    byte k, v;

#define c 0
#define MAYLETGO(k) (k <= durable)
    do
    :: atomic { !down && ROOM && nempty(ring[RING(at[c], c)]) -> receive(c) }
    :: atomic { /* the oldest it keeps becomes durable */
        !down && (keeps[c] & ~SPAN(1, durable)) ->
        do
        :: durable++;
            if
            :: keeps[c] & BIT(durable) -> break
            :: else
            fi
        od
       }
    LETGO(1)
    LETGO(2)
    LETGO(3)
#if N > 3
    LETGO(4)
#endif
    :: atomic { !down && NEXTRING -> DRAIN; at[c]++ }
    :: atomic { !down && sinkdeaths < SINKDEATHS && !ALLBACK -> sinkdeaths++; down = true; keeps[c] = 0; got[c] = 0; seen[c] = durable }
    :: ALLBACK -> break
    od
#undef c
#undef MAYLETGO
}

active proctype keeper()
{
    byte k, v;

#define c 1
#define MAYLETGO(k) true
    do
    :: atomic { ROOM && nempty(ring[RING(at[c], c)]) -> receive(c) }
    LETGO(1)
    LETGO(2)
    LETGO(3)
#if N > 3
    LETGO(4)
#endif
    :: atomic { NEXTRING -> DRAIN; at[c]++ }
    :: ALLBACK ->
        break
    od
}

ltl all_done { <> ALLBACK }
