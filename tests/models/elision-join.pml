/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A fork, a filter on each branch, a ZIP join: what `passed` is for.
 *
 *                edge 0         edge 2
 *              +-------> X -------------+
 *     source --+                        +--> join
 *              +-------> Y -------------+
 *                edge 1         edge 3
 *
 * The source has ARENA slots and C credits per edge, and sends every record 1..N down both branches. X and Y decide freely
 * which records to elide; what they send on is a view, so a record goes back to the source when the join has released it.
 * Record N, the end of the stream, is never elided: even without `passed` it tells of all elisions before it, so that
 * running out of slots is the only way to hang.
 *
 * The join pairs by seq and goes through them in order. A port has the record, or is known not to get it, or is undecided;
 * only an undecided port makes it wait.
 *
 *   -DNOPASSED         no `passed`: a gap shows only when a later record arrives. Must hang:
 *                      one branch elides ARENA records, the other holds them all waiting for the join.
 *   -DNOPASSED -DC=4 -DARENA=4   does not hang: buffering the whole stream would be the price of not having `passed`.
 *   -DBATCHED          X and Y store `passed` only together with a record they send. Must hang for the same reason.
 */
#ifndef N
#define N 4
#endif
#ifndef C
#define C 2
#endif
#ifndef ARENA
#define ARENA 2
#endif

#define BIT(k) (1 << (k))

chan fwd[4] = [C] of { byte };
chan back[4] = [C] of { byte };
byte passed[4];
byte out[4];
byte gone[4]; /* for the assertions: what a filter elided and the join has not come to yet */
byte joined;  /* the join is through with records up to this */
byte alive;   /* records the source holds */

/* The processes stop only here: any other stop is a deadlock. */
#define ALLBACK (joined == N && alive == 0 && out[0] + out[1] + out[2] + out[3] == 0)

inline push(e, seq)
{
    out[e]++;
    assert(out[e] <= C && nfull(fwd[e]));
    fwd[e]!seq
}

inline release(e, seq)
{
    assert(nfull(back[e]));
    back[e]!seq
}

/* A record is free when both branches released it. */
inline collect(e)
{
    out[e]--;
    if
    :: half & BIT(k) -> half = half & ~BIT(k); alive--
    :: else -> half = half | BIT(k)
    fi;
    k = 0
}

active proctype source()
{
    byte next = 1, todo, k;
    byte half; /* records that one branch has released */


    do
    :: atomic { next <= N && todo == 0 && alive < ARENA -> alive++; todo = 3 }
    :: atomic { (todo & 1) && out[0] < C -> push(0, next); todo = todo & ~1; next = next + (todo == 0) }
    :: atomic { (todo & 2) && out[1] < C -> push(1, next); todo = todo & ~2; next = next + (todo == 0) }
    :: atomic { back[0]?k -> collect(0) }
    :: atomic { back[1]?k -> collect(1) }
    :: ALLBACK -> break
    od
}

proctype filter(byte in, o)
{
    byte k, r, done;


    do
    :: atomic {
        k == 0 && nempty(fwd[in]) ->
        fwd[in]?k;
        if
        :: k < N -> /* elide: the input goes back at once, the output edge only hears of it */
            gone[o] = gone[o] | BIT(k);
            release(in, k);
            done = k;
            k = 0
        :: true
        fi
       }
    :: atomic {
        k != 0 && out[o] < C ->
        push(o, k);
        done = k;
        k = 0;
#ifdef BATCHED
        passed[o] = done
#endif
       }
#ifndef BATCHED
    :: atomic { passed[o] < done -> passed[o] = done }
#endif
    :: atomic { back[o]?r -> out[o]--; release(in, r); r = 0 } /* no output view needs the input any more */
    :: ALLBACK -> break
    od
}

#define HAS(i)     (have[i] == joined + 1)
#define ELIDED(i)  (have[i] > joined + 1 || (have[i] == 0 && known[i] > joined))

/* Port i is edge i + 2. First `passed`, then the ring, in two steps. */
#ifdef NOPASSED
#define PORT(i)                                                                        \
    :: atomic { have[i] == 0 && nempty(fwd[i + 2]) -> fwd[i + 2]?have[i] }
#else
#define PORT(i)                                                                        \
    :: atomic { have[i] == 0 && (nempty(fwd[i + 2]) || passed[i + 2] > known[i]) -> p = passed[i + 2] }; \
        if                                                                             \
        :: atomic { fwd[i + 2]?have[i] -> p = 0 }                                      \
        :: atomic { empty(fwd[i + 2]) -> known[i] = p; p = 0 }                         \
        fi
#endif

proctype join()
{
    byte have[2];  /* taken and not paired yet */
    byte known[2]; /* all up to this that did not come was elided */
    byte p, i;


    do
    PORT(0)
    PORT(1)
    :: atomic {
        joined < N && (HAS(0) || ELIDED(0)) && (HAS(1) || ELIDED(1)) ->
        i = 0;
        do
        :: i < 2 ->
            /* What the join believes of a port is what the filter did. */
            assert(HAS(i) == ((gone[i + 2] & BIT(joined + 1)) == 0));
            gone[i + 2] = gone[i + 2] & ~BIT(joined + 1);
            if
            :: HAS(i) -> release(i + 2, have[i])
            :: else
            fi;
            i++
        :: else -> break
        od;
        have[0] = (HAS(0) -> 0 : have[0]);
        have[1] = (HAS(1) -> 0 : have[1]);
        joined++;
        i = 0
       }
    :: ALLBACK -> break
    od
}

init
{
    atomic {
        run filter(0, 2);
        run filter(1, 3);
        run join()
    }
}

ltl finished { <> ALLBACK }
