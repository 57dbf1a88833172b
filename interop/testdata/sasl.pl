# Net::SMTP over Authen::SASL against Posta: CERT KEY PORT MECHANISM USER SECRET
use strict;
use warnings;
use Authen::SASL qw(Perl);
use Net::SMTP;

my ($cert, $key, $port, $mechanism, $user, $secret) = @ARGV;
my $c = Net::SMTP->new("localhost", Port => $port, Timeout => 30, Debug => 1) or die "connect: $@";
$c->starttls(SSL_ca_file => $cert, SSL_verifycn_name => "localhost", SSL_cert_file => $cert, SSL_key_file => $key) or die "TLS: $@ " . $c->message;
my %answers = (user => $user, pass => $secret, authname => "");
%answers = (user => "", authname => $secret) if $mechanism eq "ANONYMOUS";
%answers = (user => "") if $mechanism eq "EXTERNAL";
my $sasl = Authen::SASL->new(mechanism => $mechanism, callback => \%answers);
$c->auth($sasl) or die "refused: " . $c->message;
$c->quit;
