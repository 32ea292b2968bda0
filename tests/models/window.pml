/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A stateful stage in `safe` mode whose operator holds a window of inputs: it sends record y when y is a hit, and before it those of the W
 * records before y that were not sent yet. It dies at any point and is replaced. The rest of the protocol is that of replace.pml.
 *
 *     source (C slots) ---> stage j ---(ring j)---> sink: in order, keeps one record, lets it go
 *
 * The window is the last W processed records. Records before `open` are decided: sent, or never will be. `passed` is open - 1, stored after
 * the pushes it covers. The output for record k is k with the set of records that the state was made from: that of the hit.
 *
 * Rules:
 *   - Held inputs are not released, and come again to a successor.
 *   - A snapshot is taken between records. It names the last processed record, `from`, where its window starts, and its `open`.
 *   - `base` moves to it when every output made by inputs <= name was released; then inputs < from are released, and no others.
 *   - A successor starts from base: records from .. name go into its window without being processed.
 *   - An edge has credit for the window, the record in hand and one to come.
 *   - At the end of the stream nothing is held any more, and a snapshot says so.
 *
 * Wrong rules, each of which must fail:
 *   -DTHROUGHNAME  inputs are released up to the name of base, as without a window   the window of a successor is gone
 *   -DALLDECIDED   a successor takes what its window holds for decided                a record is lost
 *   -DMIDRECORD    a snapshot may be taken between two outputs of one input           the state contains it twice
 *   -DPASSALL      `passed` is what was processed                                     a record comes that had passed
 *   -DPASSFIRST    `passed` is stored before the pushes it covers                     the same
 *   -DC=W          no credit beyond the window                                        deadlock
 *   -DNOCLEAR      no snapshot at the end of the stream                               deadlock
 */
#ifndef N
#define N 6
#endif
#ifndef W
#define W 2
#endif
#ifndef C
#define C (W + 2)
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CREDIT
#define CREDIT 2
#endif
#ifndef HITS
#define HITS (BIT(1) | BIT(4) | BIT(5))
#endif

#define BIT(k)      (1 << (k))
#define SPAN(a, b)  (BIT((b) + 1) - BIT(a))
#define MAX(a, b)   ((a) > (b) -> (a) : (b))
#define FIRST(k)    ((k) > W -> (k) - W : 1)          /* of the window before k */
#ifdef NOCLEAR
#define START       (proc >= W -> proc + 1 - W : 1)   /* of the window after proc */
#else
#define START       (proc == N -> N + 1 : (proc >= W -> proc + 1 - W : 1))
#endif

chan ring[CRASHES + 1] = [CREDIT] of { byte, byte }; /* seq, state */
byte passed[CRASHES + 1];

byte sent = C;
byte content[C];
byte released;

/* What outlives the stage. */
byte snap[2], name[2], from[2], undecided[2];
byte base;

/* What dies with it. */
byte inc, proc, state;
byte open = 1;
byte pc;        /* 1: in the operator, 2: sending */
byte out;       /* the record that is sent next */
byte pending;
byte held;      /* outputs the sink has not released */
byte cause[N + 1]; /* the input that made output k */

/* The sink. */
byte at, seen, keeps;
byte wanted;    /* what an undisturbed stage sends */
bool kept_new;  /* keeps came by the ring of the living stage */

#define ALLBACK  (released == N && (wanted & ~SPAN(1, seen)) == 0 && keeps == 0)
#define NAME     (base == 0 -> 0 : name[base - 1])
#define FROM     (base == 0 -> 1 : from[base - 1])
#define OTHER    (base == 1)

/* No output that the sink holds was made by an input <= m. */
#define ACKED(m) (acked & SPAN(1, m)) == 0
byte acked; /* set of inputs whose outputs are held */

inline count_acked()
{
    d_step {
        acked = 0;
        i = 1;
        do
        :: i <= N -> acked = acked | ((held & BIT(i)) -> BIT(cause[i]) : 0); i++
        :: else -> break
        od;
        i = 0
    }
}

inline give_back()
{
    released++;
    if
    :: sent < N -> sent++; content[(sent - 1) % C] = sent
    :: else
    fi
}

inline pass(p)
{
    passed[inc] = MAX(passed[inc], p)
}

inline succeed()
{
    inc++;
    pc = 0;
    pending = 0;
    held = 0;
    acked = 0;
    kept_new = false;
    proc = NAME;
    state = (base == 0 -> 0 : snap[base - 1]);
#ifdef ALLDECIDED
    open = proc + 1;
#else
    open = (base == 0 -> 1 : undecided[base - 1]);
#endif
    assert(FROM > released); /* what was held comes again */
    passed[inc] = open - 1
}

#ifdef MIDRECORD
#define BETWEEN (pc == 0 || pc == 2)
#else
#define BETWEEN (pc == 0)
#endif

active proctype stage()
{
    byte i;

    d_step {
        i = 1;
        do
        :: i <= N ->
            wanted = wanted | ((HITS & BIT(i)) -> SPAN(FIRST(i), i) : 0);
            if
            :: i <= C -> content[i - 1] = i
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
    do
    :: atomic { pc == 0 && proc < sent && proc < N -> assert(proc + 1 > released); pc = 1 }
    :: atomic { /* the operator */
        pc == 1 ->
        assert((state & BIT(proc + 1)) == 0); /* no record is applied twice */
        state = state | BIT(proc + 1);
        if
        :: HITS & BIT(proc + 1) -> out = MAX(open, FIRST(proc + 1)); pc = 2
#ifdef PASSFIRST
            ; pass(proc + 1)
#endif
        :: else ->
            proc++;
            open = MAX(open, START);
#ifdef PASSALL
            pass(proc);
#else
            pass(open - 1);
#endif
            pc = 0
        fi
       }
    :: atomic { /* one output; when there is credit */
        pc == 2 && nfull(ring[inc]) && (held == 0 || (held & (held - 1)) == 0) ->
        assert(content[(out - 1) % C] == out); /* what it held is still there */
        ring[inc]!out, state;
        held = held | BIT(out);
        cause[out] = proc + 1;
        count_acked();
        pass(out);
        out++;
        open = out;
        if
        :: out > proc + 1 -> proc++; open = MAX(open, START); pass(open - 1); pc = 0
        :: else
        fi
       }
    :: atomic {
        BETWEEN && pending == 0 && proc > NAME ->
        snap[OTHER] = state;
        name[OTHER] = proc;
        from[OTHER] = START;
        undecided[OTHER] = open;
        pending = OTHER + 1
       }
    :: atomic { pending != 0 && ACKED(name[pending - 1]) -> base = pending; pending = 0 }
#ifdef THROUGHNAME
    :: atomic { released < NAME -> give_back() }
#else
    :: atomic { released + 1 < FROM -> give_back() }
#endif
    :: atomic { inc < CRASHES && !ALLBACK -> succeed() }
    :: ALLBACK -> break
    od
}

active proctype sink()
{
    byte k, v, i, p, j;

    do
    :: atomic {
        keeps == 0 && nempty(ring[at]) ->
        ring[at]?k, v;
        /* That of the hit that made it: the first one from k on. */
        i = k;
        do
        :: (HITS & BIT(i)) == 0 -> i++
        :: else -> break
        od;
        assert(v == SPAN(1, i));
        i = 0;
        if
        :: k > seen ->
            assert((wanted & SPAN(seen + 1, k - 1)) == 0); /* nothing was lost */
            seen = k;
            keeps = k;
            kept_new = (at == inc)
        :: else -> /* seen, and released before: at once */
            held = held & ~(at == inc -> BIT(k) : 0);
            count_acked()
        fi;
        k = 0; v = 0
       }
    :: atomic { keeps != 0 -> held = held & ~(kept_new -> BIT(keeps) : 0); keeps = 0; kept_new = false; count_acked() }
    :: atomic { empty(ring[at]) && at < inc -> at++ }
       /* Reads passed, then the ring: when that is empty, all that is wanted of what has passed was seen. */
    :: atomic { p == 0 && passed[at] > seen -> p = passed[at]; j = at }
    :: atomic { p != 0 && j == at && empty(ring[at]) -> assert((wanted & SPAN(1, p) & ~SPAN(1, seen)) == 0); p = 0; j = 0 }
    :: atomic { p != 0 && (j != at || nempty(ring[at])) -> p = 0; j = 0 }
    :: ALLBACK -> break
    od
}
