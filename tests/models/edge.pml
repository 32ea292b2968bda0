/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Edges: a fan-out to two consumers, a window whose outputs need two inputs, a fan-in; credit, `passed`, release.
 *
 *            edge 0
 *        +---------------------> D
 *     P -+                       |      takes both inlets in the order of seq,
 *        +---------> B ----------+      lets go in any order
 *            edge 1     edge 2
 *
 * P owns an arena of SLOTS slots and sends records 1..N. For every record and edge it decides freely to send or to elide.
 * B keeps the previous record in a window; its output k is a view of record k and the one before it, so an output pins two
 * inputs, and an input is pinned by up to two outputs and the window. Nothing is copied: D reads P's slots by both ways.
 *
 * An edge is a forward ring and a release ring of C places each. A channel stands for a ring; a push is one step because
 * the store of the ring's head publishes it. `passed` is a word of its own and is stored later, in a step of its own.
 *
 * Checked: a slot is not written while somebody may read it; every record arrives once and in order, or was elided; never
 * more than C outstanding; a release finds room; no process stops before everything was announced and has come back.
 *
 * Wrong rules, each of which must fail:
 *   -DRINGFIRST    a consumer looks at the ring, then at `passed`
 *   -DPASSEDFIRST  a producer stores `passed`, then pushes
 *   -DFIRSTFREES   a slot is free again when one of its consumers has released it
 *   -DEARLY        B releases an input when it has emitted the view of it
 *   -DNOCREDIT     P does not count what is outstanding
 *   -DC=1          the window keeps the only credit of edge 1
 *   -DSLOTS=1      the window keeps the only slot
 *
 *   -DPROMPT       fewer states: P stores `passed` before it goes on to the next record
 */
#ifndef N
#define N 4
#endif
#ifndef C
#define C 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif

#define BIT(k)      (1 << (k))
#define SPAN(a, b)  (BIT((b) + 1) - BIT(a)) /* bits a..b; nothing if b == a - 1 */
#define UNDECIDED   4

/* The shared part of an edge. A message is seq and one or two slots (the second only on edge 2). */
chan fwd[3] = [C] of { byte, byte, byte };
chan back[3] = [C] of { byte, byte, byte };
byte passed[3];

byte content[SLOTS]; /* seq that was last written into the slot */
byte held[SLOTS];    /* P's table: edges that have not released the slot */
byte out[3];         /* the producer's count of outstanding records */
byte cursor = 1;       /* P's next record */

/* Only the assertions read this: what the producer of an edge has decided never to send, and the consumer not yet noticed. */
byte gone[3];

/* Everything is sent or elided, announced, and has come back. The processes stop only there: any other stop is a deadlock. */
#define ALLBACK (cursor > N && passed[0] == N && passed[1] == N && passed[2] == N && \
                 out[0] == 0 && out[1] == 0 && out[2] == 0)

#define FREE(i) (held[i] == 0)
#if SLOTS == 1
#define ANYFREE FREE(0)
#define FIRSTFREE 0
#elif SLOTS == 2
#define ANYFREE (FREE(0) || FREE(1))
#define FIRSTFREE (FREE(0) -> 0 : 1)
#else
#define ANYFREE (FREE(0) || FREE(1) || FREE(2))
#define FIRSTFREE (FREE(0) -> 0 : (FREE(1) -> 1 : 2))
#endif

#ifdef NOCREDIT
#define CREDIT(e) true
#else
#define CREDIT(e) (out[e] < C)
#endif

#define SOMETHING(e, seen) (passed[e] > seen || nempty(fwd[e]))

/* A ring has room for all that credit allows: pushing never blocks, forward and backward. */
inline push(e, seq, one, two)
{
    out[e]++;
    assert(out[e] <= C);
    assert(nfull(fwd[e]));
    fwd[e]!seq, one, two
}

inline release(e, seq, one, two)
{
    assert(nfull(back[e]));
    back[e]!seq, one, two
}

/* A record came: seq grows, and what lies between was elided. */
inline arrived(e, seen, seq)
{
    assert(seq > seen);
    assert((SPAN(seen + 1, seq - 1) & ~gone[e]) == 0);
    seen = seq;
    gone[e] = gone[e] & ~SPAN(1, seen) /* told and checked: forget */
}

/* The ring was empty after `passed` said p: all up to p was elided, nothing is lost. */
inline skipped(e, seen, upto)
{
    if
    :: upto > seen -> assert((SPAN(seen + 1, upto) & ~gone[e]) == 0); seen = upto; gone[e] = gone[e] & ~SPAN(1, seen)
    :: else
    fi
}

/* Whoever may read a slot finds in it what it was sent for. */
inline intact(seq, slot)
{
    assert(content[slot] == seq)
}

/* P: an unknown release does not occur. */
inline collect(e)
{
    assert(content[s] == k && (held[s] & BIT(e)));
#ifdef FIRSTFREES
    held[s] = 0;
#else
    held[s] = held[s] & ~BIT(e);
#endif
    if /* a free slot has no content: reading it would be caught below */
    :: held[s] == 0 -> content[s] = 0
    :: else
    fi;
    out[e]--
}

active proctype P()
{
    byte want = UNDECIDED, todo, slot, k, s;
    byte sent[2]; /* edge e is through with records up to sent[e] */

    do
    :: atomic {
        cursor <= N && want == UNDECIDED &&
#ifdef PROMPT
        passed[0] == sent[0] && passed[1] == sent[1] &&
#endif
        true ->
        if
        :: want = 0
        :: want = 1
        :: want = 2
        :: want = 3
        fi;
        gone[0] = gone[0] | ((want & 1) -> 0 : BIT(cursor));
        gone[1] = gone[1] | ((want & 2) -> 0 : BIT(cursor));
        if /* what no edge wants takes no slot */
        :: want == 0 -> sent[0] = cursor; sent[1] = cursor; cursor++; want = UNDECIDED
        :: else
        fi
       }
    :: atomic { /* fill a free slot; this is the moment that destroys the old content */
        want != UNDECIDED && todo == 0 && ANYFREE ->
        slot = FIRSTFREE;
        content[slot] = cursor;
        held[slot] = want;
        todo = want;
#ifdef PASSEDFIRST
        passed[0] = cursor;
        passed[1] = cursor
#endif
       }
    :: atomic {
        (todo & 1) && CREDIT(0) ->
        push(0, cursor, slot, 0);
        todo = todo & ~1;
        if
        :: todo == 0 -> sent[0] = cursor; sent[1] = cursor; cursor++; want = UNDECIDED; slot = 0
        :: else -> sent[0] = cursor
        fi
       }
    :: atomic {
        (todo & 2) && CREDIT(1) ->
        push(1, cursor, slot, 0);
        todo = todo & ~2;
        if
        :: todo == 0 -> sent[0] = cursor; sent[1] = cursor; cursor++; want = UNDECIDED; slot = 0
        :: else -> sent[1] = cursor
        fi
       }
    :: atomic { passed[0] < sent[0] -> passed[0] = sent[0] }
    :: atomic { passed[1] < sent[1] -> passed[1] = sent[1] }
    :: atomic { back[0]?k, s, _ -> collect(0); k = 0; s = 0 }
    :: atomic { back[1]?k, s, _ -> collect(1); k = 0; s = 0 }
    :: ALLBACK -> break
    od
}

/* Receive on edge e, as far as the two looks go; `take` handles what came. Two steps, so that others run between them. */
#ifdef RINGFIRST
#define RECEIVE(e, seen, ready, take)                                                  \
    :: ready && SOMETHING(e, seen) ->                                                  \
        if                                                                             \
        :: atomic { fwd[e]?k, s, t -> arrived(e, seen, k); take }                            \
        :: empty(fwd[e]) -> atomic { p = passed[e]; skipped(e, seen, p); p = 0 }             \
        fi
#else
#define RECEIVE(e, seen, ready, take)                                                  \
    :: atomic { ready && SOMETHING(e, seen) -> p = passed[e] };                        \
        if                                                                             \
        :: atomic { fwd[e]?k, s, t -> arrived(e, seen, k); take; p = 0 }                     \
        :: atomic { empty(fwd[e]) -> skipped(e, seen, p); p = 0 }                            \
        fi
#endif

/* B drops one reason to keep a slot; without reasons the input goes back. */
inline unpin(slot)
{
#ifndef EARLY
    pin[slot]--;
    if
    :: pin[slot] == 0 -> release(1, content[slot], slot, 0)
    :: else
    fi
#else
    skip
#endif
}

active proctype B()
{
    byte seen, p, k, s, t;
    byte cur, cs;      /* record being worked on and its slot */
    byte win, ws;      /* the record before it, in the window */
    byte done;         /* edge 2 is through with outputs up to this */
    byte pin[SLOTS];   /* reasons to keep an input: the window, and each unreleased output view */

    do
    RECEIVE(1, seen, (cur == 0),
        cur = k; cs = s;
        pin[s] = 1;
        k = 0; s = 0)
    :: atomic { /* the first record has no predecessor: no output */
        cur != 0 && win == 0 ->
        gone[2] = gone[2] | SPAN(done + 1, cur);
        done = cur;
        win = cur; ws = cs; cur = 0; cs = 0
       }
    :: atomic {
        cur != 0 && win != 0 && out[2] < C ->
        gone[2] = gone[2] | SPAN(done + 1, cur - 1);
        push(2, cur, ws, cs);
#ifdef EARLY
        release(1, win, ws, 0);
#else
        pin[ws]++;
        pin[cs]++;
        pin[ws]--; /* it leaves the window */
#endif
        done = cur;
        win = cur; ws = cs; cur = 0; cs = 0
       }
    :: atomic { /* inputs up to `seen` that never came make no output */
        cur == 0 && done < seen ->
        gone[2] = gone[2] | SPAN(done + 1, seen);
        done = seen
       }
    :: atomic { passed[2] < done -> passed[2] = done }
    :: atomic { /* the stream ends: the window is given up */
        seen == N && cur == 0 && win != 0 ->
#ifdef EARLY
        release(1, win, ws, 0);
#endif
        unpin(ws);
        win = 0; ws = 0
       }
    :: atomic { back[2]?k, s, t -> out[2]--; unpin(s); unpin(t); k = 0; s = 0; t = 0 }
    :: ALLBACK -> break
    od
}

/* An inlet of D: `ahead` is a record that was taken and whose turn has not come, `known` what the producer said or sent. */
#define HAS(x)     (ahead[x] == turn + 1)
#define WITHOUT(x) (ahead[x] > turn + 1 || (ahead[x] == 0 && known[x] > turn))

#define INLET(x, e)                                                                    \
    RECEIVE(e, known[x], (ahead[x] == 0),                                                        \
        ahead[x] = k; one[x] = s; two[x] = t;                                          \
        k = 0; s = 0; t = 0)

#define LETGO(slot) \
    :: atomic { keeps[slot] != 0 -> intact(keeps[slot], slot); release(0, keeps[slot], slot, 0); keeps[slot] = 0 }

active proctype D()
{
    byte known[2], p, k, s, t;
    byte ahead[2], one[2], two[2];
    byte turn;           /* through with records up to this */
    byte keeps[SLOTS];   /* seq of the record of edge 0 it keeps in that slot */
    byte k2, s2, t2, before; /* the output of B it keeps: slots of the record and its predecessor, and which that was */

    do
    INLET(0, 0)
    INLET(1, 2)
    :: atomic { /* the next in order: both inlets have it or will never get it */
        turn < N && (HAS(0) || WITHOUT(0)) && (HAS(1) || WITHOUT(1)) && (k2 == 0 || !HAS(1)) ->
        if
        :: HAS(0) -> keeps[one[0]] = ahead[0]; ahead[0] = 0; one[0] = 0
        :: else
        fi;
        if
        :: HAS(1) ->
            k2 = ahead[1]; s2 = one[1]; t2 = two[1];
            ahead[1] = 0; one[1] = 0; two[1] = 0;
            before = content[s2];
            assert(before < k2)
        :: else
        fi;
        turn++
       }
    :: atomic {
        k2 != 0 ->
        intact(before, s2);
        intact(k2, t2);
        release(2, k2, s2, t2);
        k2 = 0; s2 = 0; t2 = 0; before = 0
       }
    LETGO(0)
#if SLOTS > 1
    LETGO(1)
#endif
#if SLOTS > 2
    LETGO(2)
#endif
    :: ALLBACK -> break
    od
}

ltl released { <> ALLBACK }
