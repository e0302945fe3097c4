# A PSGI application, as Plack, Dancer and Catalyst make them.
use strict;
use warnings;

sub {
    my ($env) = @_;
    kill 'KILL', $$ if $env->{PATH_INFO} eq '/crash';
    return [404, ['Content-Type' => 'text/plain'], ["not found\n"]] if $env->{PATH_INFO} ne '/';
    return [200, ['Content-Type' => 'text/plain'], ["hello from psgi\n"]];
};
