# SPDX-License-Identifier: GPL-2.0-only
#
# The figures of lazy_allocation --csv as a picture: gnuplot -c lazy_allocation.gp
# CSV SVG. `make figures` does that with those of a guest.

set datafile separator ","
set terminal svg size 800,420 font "sans-serif,13" background "#ffffff"
set output ARG2
set title "Memory comes when it is written to, not when it is asked for"
set ylabel "MiB"
set yrange [0:*]
set grid ytics linecolor "#dddddd"
set border 3
set tics nomirror out
set xtics rotate by -35 noenhanced
set key outside top right horizontal
set style fill solid
set boxwidth 0.8

# Each step is a column: all that there are addresses for, and before it what
# there is memory for.
plot ARG1 skip 1 using ($3 / 1024):xtic(1) with boxes linecolor "#cfd8e3" \
		title "VSZ: addresses", \
	"" skip 1 using ($5 / 1024) with boxes linecolor "#2a6fb0" \
		title "RSS: memory"
