/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The wake-up rule: no fence per push, a flag, a little more polling, a wait with a time limit.
 *
 * A processor's stores wait in a store buffer before others see them; its loads do not wait for them. So the producer may
 * load the sleeper's flag before its own store of the head is seen, and the sleeper may load the head before its own store
 * of the flag is seen. Each buffer drains in order. A system call is a full barrier. futex_wait compares the word and falls
 * asleep in one step; futex_wake wakes a sleeper or does nothing.
 *
 * The producer sends N records. With -DELIDE it elides any of them: `passed` grows and the head does not.
 *
 *   (none)                      time limit, no fence: nothing hangs, and no record waits for more than one time limit
 *   -DNOLIMIT                   must hang: the wake-up is lost
 *   -DNOLIMIT -DFENCE           a fence between head and flag would do it too, at its price per push
 *   -DNOLIMIT -DFENCE -DELIDE   must hang: futex_wait compares the head, which an elision does not change
 *   -DNOLIMIT -DFENCE -DELIDE -DEVENTS   does not hang: the futex word counts every push and every elision
 *   -DELIDE                     with the time limit an elision, too, is only late
 *   -DFORGED                    a stranger wakes the sleeper for nothing, up to three times
 */
#ifndef N
#define N 4
#endif
#ifndef POLLS
#define POLLS 1 /* looks between raising the flag and waiting */
#endif

#define MAX(a, b) ((a) > (b) -> (a) : (b))

mtype = { HEAD, PASSED, WORD };

/* Memory as the other side sees it, and the stores on their way there. */
byte head;   /* seq of the last record in the ring */
byte passed; /* seq of the last elided record */
bit flag;    /* raised by the sleeper */
chan pstores = [4] of { mtype, byte };
chan cstores = [2] of { bit };
#ifdef EVENTS
byte word;
#else
#define word head
#endif

byte sent;      /* records the producer has pushed or elided */
byte seen;      /* records the consumer knows of */
byte overslept; /* records that were due when the last time limit ended */
bool asleep;
byte forged;

/* The processes stop only here: any other stop is a hang. */
#define ALLSEEN (seen == N)

/* Stores reach memory in order, at any time. */
active proctype producer_buffer()
{
    mtype what;
    byte value;

    do
    :: atomic {
        pstores?what, value ->
        if
        :: what == HEAD -> head = value
        :: what == PASSED -> passed = value
#ifdef EVENTS
        :: what == WORD -> word = value
#endif
        fi;
        what = 0; value = 0
       }
    :: ALLSEEN && sent == N && empty(pstores) -> break
    od
}

active proctype consumer_buffer()
{
    do
    :: cstores?flag
    :: ALLSEEN && empty(cstores) -> break
    od
}

active proctype producer()
{
    do
    :: sent < N ->
       atomic {
        len(pstores) <= 2 ->
        sent++;
        if
        :: pstores!HEAD, sent
#ifdef ELIDE
        :: pstores!PASSED, sent
#endif
        fi;
#ifdef EVENTS
        pstores!WORD, sent
#endif
       };
#ifdef FENCE
       empty(pstores);
#endif
       if
       :: atomic { flag -> asleep = false } /* futex_wake */
       :: !flag
       fi
    :: sent == N -> break
    od
}

#ifdef FORGED
active proctype stranger()
{
    do
    :: atomic { forged < 3 && asleep -> forged++; asleep = false }
    :: ALLSEEN -> break
    od
}
#endif

active proctype consumer()
{
    byte now, before, polls;

    do
    :: ALLSEEN -> break
    :: !ALLSEEN ->
        before = word; /* the word it would wait on is loaded before the ring is looked at */
        now = MAX(head, passed);
        if
        :: now > seen -> seen = now
        :: now == seen ->
            polls = 0;
            cstores!1; /* raise the flag; no fence */
            do
            :: polls < POLLS && now == seen -> polls++; now = MAX(head, passed)
            :: polls == POLLS || now > seen -> break
            od;
            if
            :: now > seen -> seen = now
            :: now == seen ->
                empty(cstores); /* into the kernel */
                if
                :: atomic {
                    word == before ->
                    /* What was due when the last time limit ended was taken before it sleeps again. */
                    assert(overslept <= seen);
                    asleep = true
                   }
                :: word != before
                fi;
                if
                :: !asleep
#ifndef NOLIMIT
                /* The time limit is longer than a store stays in its buffer. */
                :: atomic { asleep && empty(pstores) -> asleep = false; overslept = sent }
#endif
                fi
            fi;
            cstores!0 /* lower it */
        fi
    od
}

ltl all_seen { <> ALLSEEN }
