# SPDX-License-Identifier: GPL-2.0-only
#
# What a unit costs, of how many there are: gnuplot -c benchmarks.gp CSV SVG KERNEL.
# `make figures` does that with docs/benchmarks.csv.

set datafile separator ","
set datafile missing NaN
set terminal svg size 1080,480 font "sans-serif,12" background "#ffffff"
set output ARG2
set logscale xy
set format "10^{%L}"
set grid linecolor "#dddddd"
set border 3
set tics nomirror out
set key below left vertical maxrows 5 reverse Left noenhanced samplen 2

# Columns: kernel, mode, race, n, way, units, lines, median.
# Of text with a comma gnuplot reads what is before it.
head(way) = way[1:strstrt(way . ",", ",") - 1]
is(race, way) = strcol(1) eq ARG3 && strcol(2) eq "instructions" && \
	strcol(3) eq race && strcol(5) eq head(way)
units(race, way) = is(race, way) ? column(6) : NaN
cost(race, way) = is(race, way) ? column(8) / column(6) : NaN

set bmargin 10
set multiplot layout 1,3 title "Linux " . ARG3 . ": what each costs, of how many there are"
set style data linespoints

race = "list"
ways = "'cat /proc/lkm1' 'insmod lkm1' 'ps -eo pid,comm,stat' 'busybox ps' 'a C loop over /proc/PID/stat'"
set ylabel "instructions a process"
set xlabel "processes"
plot for [way in ways] ARG1 skip 1 using (units(race, way)):(cost(race, way)) title way

race = "rows"
ways = "'read /proc/lkm4' 'pagemap' 'one pread() and one printf() a page' 'bulk pread() and runs by hand'"
set ylabel "instructions a page"
set xlabel "pages"
plot for [way in ways] ARG1 skip 1 using (units(race, way)):(cost(race, way)) title way

race = "vmas"
ways = "'cat /proc/lkm5' 'cat /proc/PID/maps' 'pmap PID' 'pmap -x PID'"
set ylabel "instructions a mapping"
set xlabel "mappings"
plot for [way in ways] ARG1 skip 1 using (units(race, way)):(cost(race, way)) title way
