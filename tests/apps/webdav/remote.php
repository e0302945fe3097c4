<?php
// Files over WebDAV at the path behind this script, where ownCloud and Nextcloud have them, with properties and locks.

// The library is older than PHP 8.
error_reporting(E_ALL & ~E_DEPRECATED);
require 'Sabre/autoload.php';

$state = getenv('STATE_DIRECTORY') ?: getenv('DAV_STATE');
if (!is_dir("$state/files")) {
    @mkdir("$state/files");
}
$server = new Sabre\DAV\Server(new Sabre\DAV\FSExt\Directory("$state/files"));
$server->setBaseUri($_SERVER['SCRIPT_NAME'] . '/dav/');
$server->addPlugin(new Sabre\DAV\Locks\Plugin(new Sabre\DAV\Locks\Backend\File("$state/locks")));
$server->exec();
