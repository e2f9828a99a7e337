# Made by DS01 from templates/etc/profile.d/ds01.sh.j2, do not edit
# What an account uses, where somebody logs in to look at it. Shows nothing in scripts, scp and rsync, nothing when DS01
# is not well, and takes two seconds at most. Any POSIX shell may read this: everything happens in a shell of its own,
# which leaves this one's options, variables and exit status as they are.
case $- in
*i*)
    (
        ds01_status=$?
        /usr/bin/timeout --foreground --kill-after=1 2 /opt/ds01/current/bin/ds01-greeting </dev/null || :
        exit "$ds01_status"
    ) 2>/dev/null
    ;;
esac
